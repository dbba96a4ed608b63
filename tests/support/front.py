"""nginx inside a hub's container: its processes, and what they have open."""

from __future__ import annotations

from collections.abc import Callable

from tests.support.hub_container import Hub, docker
from tests.support.wire import list_processes


def list_files(container: Hub) -> list[str]:
    """Return the files that nginx's workers have put bodies and answers into, those among them that
    have no name any more.
    """
    workers = list_nginx(container, "nginx: worker process")
    places = " ".join(f"/proc/{pid}/fd/*" for pid in workers)
    opened = container.exec("sh", "-c", f"readlink {places} || true", user="edge")
    folders = ("/run/mlhub/nginx/body/", "/run/mlhub/nginx/proxy/")
    return [line for line in opened.splitlines() if line.startswith(folders)]


def list_nginx(container: Hub, mark: str) -> list[int]:
    return [entry["pid"] for entry in list_processes(container) if mark in entry["command"]]


def reload_nginx(container: Hub, wait_for: Callable[..., object]) -> None:
    """Have nginx begin anew, and wait for its new workers."""
    workers = set(list_nginx(container, "nginx: worker process"))
    (master,) = list_nginx(container, "nginx: master")
    container.exec("kill", "-HUP", str(master))
    wait_for(
        lambda: set(list_nginx(container, "nginx: worker process")) - workers,
        "there are new workers",
        20,
    )


def kill_nginx(container: Hub, mark: str) -> None:
    """Kill processes by what their command has in it; some of a reload may end by themselves."""
    for pid in list_nginx(container, mark):
        docker("exec", "--user", "root", container.name, "kill", "-KILL", str(pid), check=False)
