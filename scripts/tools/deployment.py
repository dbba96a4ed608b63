"""The hub on this machine: start it, stop it, look at it.

Data is kept unless purging is asked for.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Sequence

from tools.console import ToolError, main_with_sentences, read, run, stage
from tools.engine import ensure_engine, find_engine
from tools.handover import Handover, ensure_key, find_data_directory, make_handover, make_mark
from tools.images import HUB, WORKSPACE, ensure_image

SETTINGS_LABEL = "mlhub.up"


def up(arguments: Sequence[str]) -> int:
    """Build what is missing and start the hub; print where it is."""
    name, port = hub_name(), public_port()
    handover = make_handover(os.environ)
    command = make_run_command(name, port, find_data_directory(os.environ), handover)
    version = ensure_engine()
    print(f"Container engine {version}")
    for image in (HUB, WORKSPACE):
        if not ensure_image(image):
            print(f"{image.tag} is up to date")
    wanted = make_mark(ensure_key(), command, handover, image_id(HUB.tag))
    state = read(
        "docker",
        "inspect",
        "--format",
        f'{{{{.State.Running}}}} {{{{index .Config.Labels "{SETTINGS_LABEL}"}}}}',
        name,
    )
    if state == f"true {wanted}":
        print(f"The hub {name} runs already, with these settings.")
    else:
        if state is not None:
            refuse_foreign_container(name)
            with stage(f"Replacing the hub container {name} (workspaces and data stay)"):
                run("docker", "rm", "--force", name, quiet=True)
        with stage(f"Starting the hub {name}"):
            labeled = [
                *command[:2],
                "--detach",
                "--label",
                f"{SETTINGS_LABEL}={wanted}",
                *command[2:],
            ]
            start_container(name, port, labeled, handover.variables)
            wait_until_healthy(name)
    print_welcome(name, port)
    return 0


def down(arguments: Sequence[str]) -> int:
    """Remove the hub and its workspaces' containers and networks; with --purge the data as well."""
    unknown = set(arguments) - {"--purge"}
    if unknown:
        raise ToolError(
            f"{' '.join(sorted(unknown))} is not an option. Usage: ./scripts/down [--purge]"
        )
    require_engine()
    name = hub_name()
    with stage(f"Removing the hub {name} and its workspaces' containers"):
        if read("docker", "inspect", "--format", "{{.Id}}", name):
            refuse_foreign_container(name)
            # While the hub's image is still there, let it take its rules off the host.
            read("docker", "exec", name, "mlhub", "guard", "remove")
            run("docker", "rm", "--force", name, quiet=True)
        remove_labeled("container", name, "rm", "--force")
        remove_labeled("network", name, "rm")
    if "--purge" in arguments:
        with stage("Removing all data: the hub's database and every workspace's files"):
            remove_labeled("volume", name, "rm")
            if read("docker", "volume", "inspect", data_volume(name)):
                run("docker", "volume", "rm", data_volume(name), quiet=True)
    else:
        print(
            "Data is kept. ./scripts/up starts again where you were; ./scripts/down --purge "
            "removes it."
        )
    return 0


def logs(arguments: Sequence[str]) -> int:
    """Show the hub's log."""
    require_engine()
    os.execvp(
        "docker", ["docker", "logs", *(arguments or ["--tail", "200", "--follow"]), hub_name()]
    )


def status(arguments: Sequence[str]) -> int:
    """Say what runs."""
    require_engine()
    name = hub_name()
    state = read(
        "docker",
        "inspect",
        "--format",
        "{{.State.Status}}, {{if .State.Health}}{{.State.Health.Status}}"
        "{{else}}no health check{{end}}, since {{.State.StartedAt}}, {{.Config.Image}}",
        name,
    )
    print(f"hub {name}: {state or 'not there. ./scripts/up starts it.'}")
    if state:
        # Its exit code says that something does not answer; what it prints says what.
        answers = (
            read(
                "sh",
                "-c",
                'docker exec "$1" python -m mlhub.boot.health --verbose 2>&1 || true',
                "sh",
                name,
            )
            or "nothing answers: ./scripts/logs"
        )
        print("\n".join(f"  {line}" for line in answers.splitlines()))
    workspaces = read(
        "docker",
        "ps",
        "--all",
        "--filter",
        f"label=mlhub.origin={name}",
        "--format",
        "  {{.Names}}: {{.Status}}, {{.Image}}",
    )
    print(f"workspaces:\n{workspaces}" if workspaces else "workspaces: none")
    return 0 if state else 1


def make_run_command(name: str, port: int, data: str, handover: Handover) -> list[str]:
    """Return the documented `docker run` with everything that is handed over; values are in its
    environment, not in its words.
    """
    command = ["docker", "run", "--name", name, "--restart", "unless-stopped"]
    command += ["--publish", f"{port}:8080", "--sysctl", "net.ipv4.ip_forward=0"]
    # At /data in any case: the image declares a volume there, and each container would leave behind
    # one of its own.
    places = [f"{data_volume(name)}:{place}" for place in dict.fromkeys(["/data", data])]
    for mount in (*places, *handover.mounts):
        command += ["--volume", mount]
    for variable in handover.variables:
        command += ["--env", variable]
    return [*command, HUB.tag]


def start_container(name: str, port: int, command: list[str], variables: dict[str, str]) -> None:
    """Run the container; a port that is taken gets its own sentence."""
    try:
        run(*command, quiet=True, env={**os.environ, **variables})
    except ToolError as error:
        read("docker", "rm", "--force", name)
        if re.search(r"port is already allocated|address already in use", str(error)):
            raise ToolError(
                f"MLHUB_PORT={port} is taken by another program. Free it, or choose another: "
                f"MLHUB_PORT={port + 1} ./scripts/up"
            ) from None
        raise


def wait_until_healthy(name: str, seconds: float = 120) -> None:
    """Wait until every program of the hub answers; show the log when one does not."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if read("docker", "exec", name, "python", "-I", "-m", "mlhub.boot.health") is not None:
            return
        state = (
            read("docker", "inspect", "--format", "{{.State.Status}} {{.RestartCount}}", name)
            or "gone 0"
        )
        if state.split()[0] not in ("running", "created") or int(state.split()[1]) > 0:
            break
        time.sleep(0.25)
    # Kept for its log, but not started again and again.
    read("docker", "stop", name)
    log = read("sh", "-c", 'docker logs --tail 40 "$1" 2>&1', "sh", name) or ""
    raise ToolError(
        f"{log}\nThe hub did not become healthy. Its last lines are above; ./scripts/logs shows "
        "all of them."
    )


def print_welcome(name: str, port: int) -> None:
    """Print the address and, until an administrator exists, the one-time link."""
    host = next(
        iter(filter(None, os.environ.get("MLHUB_HOSTNAMES", "").split(","))), "localhost"
    ).strip()
    scheme = (
        "https"
        if (os.environ.get("SSL_ENABLED") or "").lower() in ("true", "on", "1", "yes")
        else "http"
    )
    base = os.environ.get("MLHUB_BASE_URL", "/").strip("/")
    address = f"{scheme}://{host}:{port}/{base + '/' if base else ''}"
    print(f"\nMLHub answers at {address}")
    code = read("docker", "exec", name, "cat", f"{find_data_directory(os.environ)}/setup-code")
    if code:
        print(f"Set up the administrator (this link works once): {address}hub/signup?setup={code}")


def remove_labeled(kind: str, name: str, *command: str) -> None:
    """Remove the engine's objects of one kind that carry this hub's label."""
    words = ["docker", kind, "ls", "--quiet", "--filter", f"label=mlhub.origin={name}"]
    if kind == "container":
        words.append("--all")
    found = (read(*words) or "").split()
    if found:
        run("docker", kind, *command, *found, quiet=True)


def refuse_foreign_container(name: str) -> None:
    """Refuse to replace a container of this name that is not a hub."""
    image = read(
        "docker",
        "inspect",
        "--format",
        '{{index .Config.Labels "org.opencontainers.image.title"}}',
        name,
    )
    if image != "MLHub":
        raise ToolError(
            f"There is a container {name!r} on this engine that is not a hub. Remove it, or choose "
            "another HUB_NAME."
        )


def require_engine() -> None:
    """Refuse to go on without an engine; unlike `up`, never install one."""
    if not find_engine():
        raise ToolError("No container engine answers here. ./scripts/up starts one.")


def image_id(tag: str) -> str:
    """Return the id of a local image."""
    return read("docker", "image", "inspect", "--format", "{{.Id}}", tag) or ""


def hub_name() -> str:
    """Return the hub's name, which is its container's too."""
    return os.environ.get("HUB_NAME") or "mlhub"


def data_volume(name: str) -> str:
    """Return the name of the hub's data volume; the documented one for the default hub."""
    return "jupyterhub_data" if name == "mlhub" else f"jupyterhub_data_{name}"


def public_port() -> int:
    """Return the public port on this machine."""
    value = os.environ.get("MLHUB_PORT") or "8080"
    if not value.isdigit() or not 0 < int(value) < 65536:
        raise ToolError(
            f"MLHUB_PORT={value!r} is not a port (1-65535). Write e.g. MLHUB_PORT=8081 ./scripts/up"
        )
    return int(value)


if __name__ == "__main__":
    commands = {"up": up, "down": down, "logs": logs, "status": status}
    sys.exit(main_with_sentences(commands[sys.argv[1]], sys.argv[2:]))
