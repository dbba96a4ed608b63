"""Tell people what an import came to. Pure: no I/O."""

from __future__ import annotations

from collections.abc import Iterable

from mlhub.migration.outcome import POLICY, VALUES, VARIABLES, Outcome, Told
from mlhub.traits import USER_CONFIG

MOUNTED = {
    USER_CONFIG: f"/resources/{USER_CONFIG}",
    POLICY: f"/resources/{POLICY}",
}


def render_report(source: str, outcome: Outcome) -> str:
    """Return the page that stands beside the files."""
    files = outcome.make_files()
    parts = [
        f"# What became of {source}",
        "",
        "Read the files through before you start a hub with them: they may hold secrets.",
        "",
        "```sh",
        *make_command(outcome, files),
        "```",
        *list_told("Not carried", outcome.left, "Everything was carried."),
        *list_told("To know, or to do", outcome.notes, "Nothing."),
        *list_told("Carried", outcome.carried, "Nothing."),
    ]
    return "\n".join(parts) + "\n"


def make_command(outcome: Outcome, files: Iterable[str]) -> list[str]:
    """Make the command that starts a hub with the files."""
    if outcome.mode == "k8s":
        words = ["helm upgrade --install mlhub mlhub-chart-*.tgz --namespace mlhub"]
        words += [f"--values {VALUES}"] if VALUES in files else []
        words += [f"--set-file userConfig=./{USER_CONFIG}"] if USER_CONFIG in files else []
        words += [f"--set-file policy=./{POLICY}"] if POLICY in files else []
    else:
        words = ["docker run -d --name mlhub -p 8080:8080"]
        words += ["-v /var/run/docker.sock:/var/run/docker.sock -v jupyterhub_data:/data"]
        words += [f"--env-file {VARIABLES}"] if VARIABLES in files else []
        words += [f'-v "$PWD/{name}":{MOUNTED[name]}:ro' for name in files if name in MOUNTED]
        words += ["mltooling/ml-hub"]
    return " \\\n    ".join(words).splitlines()


def list_told(title: str, told: Iterable[Told], nothing: str) -> list[str]:
    """List keys with their sentences."""
    lines = [f"- `{each.key}`: {each.sentence}" for each in told]
    return ["", f"## {title}", "", *(lines or [nothing])]
