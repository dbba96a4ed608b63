"""``mlhub COMMAND``: what an operator asks of a hub from inside its container."""

from __future__ import annotations

import argparse
import sys

from mlhub import __version__
from mlhub.admin.doctor_cli import add_doctor_command
from mlhub.admin.record_cli import add_audit_commands
from mlhub.admin.users_cli import add_users_commands
from mlhub.backends.registry import find_kind, list_kinds
from mlhub.cleanup.backup_cli import add_backup_commands
from mlhub.cleanup.cli import add_cleanup_command
from mlhub.cleanup.trash_cli import add_trash_commands
from mlhub.errors import MLHubError, SettingsError
from mlhub.migration.cli import add_import_command
from mlhub.options.model import ALL_OPTIONS
from mlhub.options.option import Option
from mlhub.settings import Settings
from mlhub.workspaces.cli import add_policy_commands


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="mlhub", description="Look after a hub from inside its container."
    )
    parser.add_argument("--version", action="version", version=f"MLHub {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add_policy_commands(commands, find_options)
    add_doctor_command(commands)
    add_backup_commands(commands)
    add_trash_commands(commands)
    add_audit_commands(commands)
    add_users_commands(commands)
    add_cleanup_command(commands)
    add_import_command(commands)
    for kind in list_kinds():
        if kind.add_commands:
            kind.add_commands(commands)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return the exit code."""
    chosen = make_parser().parse_args(arguments)
    try:
        return int(chosen.run(chosen))
    except MLHubError as error:
        print(f"mlhub: {error.numbered}", file=sys.stderr)
        return 1


def find_options() -> tuple[Option, ...]:
    """Return the options of the backend that is chosen here, or all where none can be told."""
    try:
        options = find_kind(Settings.load().execution_mode).options
    except SettingsError:
        options = None
    return ALL_OPTIONS if options is None else options


if __name__ == "__main__":
    sys.exit(main())
