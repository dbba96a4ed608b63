"""``mlhub images``: pull the images of the catalogue before people wait for them. ``mlhub guard``:
the host's rules.

Invariants: pulling changes nothing but the images on the engine, and no hub needs to run. The user
config is not run here: what it offers is what the hub wrote down when it started last.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
from pathlib import Path
from typing import Any, TextIO

from mlhub.backends.docker import MODES
from mlhub.backends.docker.offered import read_images
from mlhub.errors import ConfigurationError, MLHubError
from mlhub.policy.file import load_policy
from mlhub.policy.model import SitePolicy, SpawnerDefaults
from mlhub.settings import Settings

_STEP = 10  # percent between two lines where the output is no terminal
_BAR = 24


def add_commands(commands: Any) -> None:
    """Add ``guard`` and ``images`` to the parser."""
    guard = commands.add_parser(
        "guard", help="the rules that hold workspaces to what they may reach"
    )
    guard.add_argument("action", choices=["install", "remove"])
    guard.set_defaults(run=lambda chosen: asyncio.run(run_guard(chosen.action)))
    images = commands.add_parser("images", help="the images of workspaces")
    actions = images.add_subparsers(dest="action", required=True, metavar="ACTION")
    pull = actions.add_parser(
        "pull", help="pull images; exit code 1 and a sentence for each one that cannot be pulled"
    )
    pull.add_argument(
        "images",
        nargs="*",
        metavar="IMAGE",
        help="names of the catalogue or references; by default the whole catalogue",
    )
    pull.add_argument(
        "--policy", type=Path, metavar="FILE", help="the policy file; by default the hub's own"
    )
    images.set_defaults(run=run_images)


def run_images(chosen: argparse.Namespace) -> int:
    """Pull; return the exit code."""
    settings = Settings.load()
    if settings.execution_mode not in MODES:
        raise MLHubError(
            "There is no Docker engine in this mode; in a cluster each node pulls images by itself."
        )
    images = list_references(
        chosen.images,
        _load_policy(chosen.policy, settings.policy_file),
        read_images(settings.data_volume_container) or [settings.mlhub_workspace_image],
    )
    failures = asyncio.run(pull_all(images, Screen(sys.stdout)))
    for sentence in failures.values():
        print(f"mlhub: {sentence}", file=sys.stderr)
    return 1 if failures else 0


async def run_guard(action: str) -> int:
    """Put the host's rules in place, or take them away before this hub is removed for good."""
    # Docker is imported where it is needed: other commands work without an engine.
    from mlhub.backends.docker.engine import Engine
    from mlhub.backends.docker.guard import ensure_guard, remove_guard
    from mlhub.backends.docker.hub_container import find_own_container

    settings = Settings.load()
    engine = Engine()
    try:
        with engine.friendly_errors():
            container = await find_own_container(engine)
        if container is None:
            raise MLHubError(
                "This is no container of the engine that it speaks to. Run it as: docker exec <hub>"
                " mlhub guard remove"
            )
        if action == "install":
            works = await ensure_guard(
                engine,
                settings.hub_name,
                container["Image"],
                egress=settings.mlhub_workspace_egress,
            )
        else:
            works = await remove_guard(engine, settings.hub_name, container["Image"])
        return 0 if works else 1
    finally:
        engine.close()


def list_references(asked: list[str], policy: SitePolicy, configured: list[str]) -> list[str]:
    """List what to pull: what was asked for, names of the catalogue among it, or else the whole
    catalogue, which is what is ``configured`` where the policy has none.
    """
    catalogue = policy.list_catalogue(
        SpawnerDefaults(image=configured[0], workspace_images=tuple(configured[1:]))
    )
    named = {entry.name: entry.image for entry in catalogue}
    return list(dict.fromkeys([named.get(each, each) for each in asked] or named.values()))


async def pull_all(images: list[str], screen: Screen) -> dict[str, str]:
    """Pull images and show how far that is; return the sentences of those that failed."""
    # Docker is imported where it is needed: other commands work without an engine.
    from mlhub.backends.docker.engine import Engine
    from mlhub.backends.docker.prepull import pull_images

    engine = Engine()
    try:
        return await pull_images(engine, images, screen.show)
    finally:
        screen.end_line()
        engine.close()


class Screen:
    """Show pulls: as a bar that moves on a terminal, as a few plain lines elsewhere."""

    def __init__(self, output: TextIO) -> None:
        """Find out what the output is."""
        self._output, self._is_terminal = output, output.isatty()
        self._image, self._told, self._is_open = "", -1.0, False

    def show(self, image: str, percent: float, message: str) -> None:
        """Show how far one image is."""
        is_new = image != self._image
        if is_new:
            self.end_line()
        if self._is_terminal:
            self._draw(percent, message)
        elif is_new or percent - self._told >= _STEP or (percent >= 100 and self._told < 100):
            print(
                message if percent in (0, 100) else f"{message} ({percent:.0f} %)",
                file=self._output,
                flush=True,
            )
        else:
            return
        self._image, self._told = image, percent

    def end_line(self) -> None:
        """Leave a bar as it is and go on below it."""
        if self._is_open:
            print(file=self._output, flush=True)
        self._is_open = False

    def _draw(self, percent: float, message: str) -> None:
        full = round(_BAR * percent / 100)
        line = f"[{'#' * full}{'.' * (_BAR - full)}] {percent:3.0f} % {message}"
        # The rest of a longer line before is wiped out (ECMA-48, erase in line).
        print(
            f"\r{line[: shutil.get_terminal_size().columns - 1]}\x1b[K",
            end="",
            file=self._output,
            flush=True,
        )
        self._is_open = True


def _load_policy(given: Path | None, ours: Path) -> SitePolicy:
    file = given or ours
    if given is not None and not given.exists():
        raise ConfigurationError(f"{given} does not exist. Name the policy file.")
    return load_policy(file) if file.exists() else SitePolicy()
