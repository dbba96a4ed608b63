"""Helm and kubectl, both real: they and KUBECONFIG come from ./scripts/test. And what is asked of
rendered objects.
"""

from __future__ import annotations

import functools
import json
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parents[2] / "helmchart" / "mlhub"
SCENARIOS = sorted(
    file.stem.removesuffix("-values") for file in (CHART / "ci").glob("*-values.yaml")
)
TOKEN = "mlhub.secretToken=0123456789abcdef0123456789abcdef"
RESTRICTED = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}

Objects = list[dict[str, Any]]


def run(
    *command: str | Path, given: str | None = None, cwd: Path | None = None, seconds: int = 120
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, whatever that is."""
    program = shutil.which(str(command[0]))
    assert program, f"{command[0]} is not in PATH. ./scripts/test chart brings it."
    return subprocess.run(
        [program, *map(str, command[1:])],
        input=given,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=seconds,
    )


def succeed(
    *command: str | Path, given: str | None = None, cwd: Path | None = None, seconds: int = 120
) -> str:
    """Run a command that must succeed, and return what it prints."""
    result = run(*command, given=given, cwd=cwd, seconds=seconds)
    assert result.returncode == 0, (
        f"{' '.join(map(str, command))}\n{result.stdout[-2000:]}\n{result.stderr[-4000:]}"
    )
    return result.stdout


def values_of(scenario: str) -> list[str]:
    """Return helm's arguments for a scenario."""
    return ["--values", str(CHART / "ci" / f"{scenario}-values.yaml")]


def what_templates_need(scenario: str) -> list[str]:
    """Return what `helm template`, which sees no cluster, must be told besides."""
    text = (CHART / "ci" / f"{scenario}-values.yaml").read_text()
    if "secretToken" in text or "\n  existingSecret" in text:
        return []
    keeps_nothing = "type: postgres" in text or "metrics:" in text
    return ["--set", "mlhub.existingSecret=given" if keeps_nothing else TOKEN]


def template(
    *arguments: str, release: str = "one", namespace: str = "team", chart: Path = CHART
) -> Objects:
    """Render the chart and read every object back."""
    return [
        found
        for found in yaml.load_all(render(release, namespace, chart, *arguments), yaml.CSafeLoader)
        if found
    ]


@functools.cache
def render(release: str, namespace: str, chart: Path, *arguments: str) -> str:
    """Render the chart, once for the same arguments: its files stay as they are while the tests
    run.
    """
    return succeed("helm", "template", release, chart, "--namespace", namespace, *arguments)


def read_notes(*arguments: str) -> str:
    """Return the notes of a release. `helm template` leaves them out, so they come as the text of
    an object of the site's own.
    """
    notes = (CHART / "templates" / "NOTES.txt").read_text()
    shown = (
        f'{{{{ define "notes" }}}}{notes}{{{{ end }}}}{{kind: Notes, metadata: {{name: notes}},'
        ' text: {{ include "notes" . | toJson }}}'
    )
    objects = template(*arguments, "--set-json", f"extraObjects={json.dumps([shown])}")
    return str(select(objects, "Notes")["text"])


def refusal(*arguments: str) -> str:
    """Return the words with which `helm template` refuses."""
    result = run("helm", "template", "one", CHART, "--set", TOKEN, *arguments)
    assert result.returncode != 0, f"{arguments} should have been refused"
    return result.stderr


def select(objects: Objects, kind: str, name: str = "") -> dict[str, Any]:
    """Return the one object of that kind (and of a name that ends so)."""
    found = [
        each for each in objects if each["kind"] == kind and each["metadata"]["name"].endswith(name)
    ]
    assert len(found) == 1, f"{kind} …{name}: {[each['metadata']['name'] for each in found]}"
    return found[0]


def pods(objects: Objects) -> list[tuple[str, dict[str, Any]]]:
    """Return (name, specification) of each pod that the objects make."""
    found = []
    for each in objects:
        if each["kind"] == "Pod":
            found.append((each["metadata"]["name"], each["spec"]))
        elif "template" in (each.get("spec") or {}):
            found.append((each["metadata"]["name"], each["spec"]["template"]["spec"]))
    return found


def containers(objects: Objects) -> list[dict[str, Any]]:
    """Return every container of every pod."""
    return [
        each
        for _, spec in pods(objects)
        for kind in ("initContainers", "containers")
        for each in spec.get(kind, ())
    ]


def container(objects: Objects, name: str) -> dict[str, Any]:
    """Return the container of that name."""
    return next(each for each in containers(objects) if each["name"] == name)


def read_config(objects: Objects) -> dict[str, Any]:
    """Return what the hub reads of the values."""
    return dict(yaml.safe_load(select(objects, "ConfigMap", "-hub-config")["data"]["values.yaml"]))


def environment(container: dict[str, Any]) -> dict[str, Any]:
    """Return a container's environment: name → text, or where it comes from."""
    names = [entry["name"] for entry in container["env"]]
    assert len(names) == len(set(names)), f"a variable stands twice: {sorted(names)}"
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container["env"]}


def read_howto(heading: str, language: str = "sh") -> str:
    """Return the first block of commands (or of another language) under a heading of the how-to
    page, as it stands there.
    """
    section = (
        (CHART.parents[1] / "docs/howto/kubernetes.md")
        .read_text()
        .partition(f"\n## {heading}\n")[2]
        .partition("\n## ")[0]
    )
    block = section.partition(f"```{language}\n")[2].partition("```")[0]
    assert block, f"no block of {language} under {heading!r}"
    return block


class Namespace:
    """A namespace that enforces Pod Security `restricted`, and what runs in it."""

    def __init__(self, name: str):
        self.name = name

    def kubectl(self, *arguments: str, given: str | None = None, seconds: int = 120) -> str:
        return succeed(
            "kubectl", "--namespace", self.name, *arguments, given=given, seconds=seconds
        )

    def helm(self, command: str, *arguments: str, seconds: int = 300) -> str:
        return succeed("helm", command, *arguments, "--namespace", self.name, seconds=seconds)

    def get(self, kind: str, name: str) -> dict[str, Any]:
        return dict(json.loads(self.kubectl("get", kind, name, "--output", "json")))

    def list_names(self, kinds: str) -> set[str]:
        """List what is there as kind/name, but for what Kubernetes itself puts into a namespace."""
        names = set(self.kubectl("get", kinds, "--output", "name").split())
        return names - {"configmap/kube-root-ca.crt", "serviceaccount/default"}


@contextmanager
def fresh_namespace() -> Iterator[Namespace]:
    """Make a namespace that enforces `restricted`; it goes with everything that releases in it
    made.
    """
    name = f"mlhub-chart-{secrets.token_hex(3)}"
    metadata = {"name": name, "labels": {"mlhub.test": "chart", **RESTRICTED}}
    succeed(
        "kubectl",
        "create",
        "--filename",
        "-",
        given=json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}),
    )
    try:
        yield Namespace(name)
    finally:
        run("kubectl", "delete", "namespace", name, "--wait=false", seconds=60)
        for kind in ("clusterrole", "clusterrolebinding", "priorityclass"):
            names = run("kubectl", "get", kind, "--output", "name").stdout.split()
            if ours := [each for each in names if each.split("/")[1].startswith(f"{name}-")]:
                run("kubectl", "delete", *ours)
