"""``mlhub COMMAND``: what an operator asks of a hub from inside its container."""

from __future__ import annotations

import argparse
import asyncio
import sys

from mlhub import __version__
from mlhub.cli.images import add_images_commands, run_images
from mlhub.cli.policy import add_policy_commands, run_policy
from mlhub.errors import MLHubError
from mlhub.settings import Settings


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return the exit code."""
    parser = argparse.ArgumentParser(prog="mlhub", description="Look after a hub from inside its container.")
    parser.add_argument("--version", action="version", version=f"MLHub {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    guard = commands.add_parser("guard", help="the rules that keep workspaces off the Docker host")
    guard.add_argument("action", choices=["install", "remove"])
    add_images_commands(commands)
    add_policy_commands(commands)
    chosen = parser.parse_args(arguments)
    try:
        if chosen.command == "policy":
            return run_policy(chosen)
        if chosen.command == "images":
            return run_images(chosen)
        return asyncio.run(run_guard(chosen.action))
    except MLHubError as error:
        print(f"mlhub: {error}", file=sys.stderr)
        return 1


async def run_guard(action: str) -> int:
    """Put the host's rules in place, or take them away before this hub is removed for good."""
    # Docker is imported where it is needed: other commands work without an engine.
    from mlhub.backends.docker.engine import Engine
    from mlhub.backends.docker.guard import ensure_guard, remove_guard
    from mlhub.backends.docker.own import find_own_container

    settings = Settings.load()
    engine = Engine()
    try:
        with engine.sentences():
            container = await find_own_container(engine)
        if container is None:
            raise MLHubError("This is no container of the engine that it speaks to. Run it as: docker exec <hub> mlhub guard remove")
        act = ensure_guard if action == "install" else remove_guard
        return 0 if await act(engine, settings.hub_name, container["Image"]) else 1
    finally:
        engine.close()


if __name__ == "__main__":
    sys.exit(main())
