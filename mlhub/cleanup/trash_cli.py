"""``mlhub trash``: list, bring back and remove for good what is in the trash of all.

Invariants: it is the hub that restores and removes, because it knows what starts right now; this
command asks it. Nothing is removed without ``--yes``.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlhub.cleanup.trash import Trash, TrashItem
from mlhub.errors import MLHubError, SettingsError, WorkspaceError
from mlhub.settings import Settings
from mlhub.workspaces.hub_socket import ask, open_socket

BY, RESTORED, REMOVED = "mlhub trash", "restore from the trash", "remove for good"
Record = Callable[..., None]
log = logging.getLogger(__name__)


def make_socket_path(run: Path) -> Path:
    """Return where the hub listens."""
    return run / "hub" / "trash.sock"


# the hub's side


async def open_trash_socket(trash: Trash, path: Path, record: Record) -> Any:
    """Listen for the command; ``record`` adds an event to the record of who did what."""

    async def answer(asked: dict[str, Any]) -> dict[str, Any]:
        if asked["action"] == "restore":
            return await _restore(trash, asked, record)
        if asked["action"] == "empty":
            return await _empty(trash, asked, record)
        return {"items": [each.describe() for each in await _choose(trash, asked)]}

    return await open_socket(path, answer)


async def _choose(trash: Trash, asked: dict[str, Any]) -> list[TrashItem]:
    user, names = asked.get("user"), asked.get("ids") or []
    found = [each for each in await trash.list_all() if user in (None, each.resource.user)]
    known = {each.name for each in found}
    if missing := [name for name in names if name not in known]:
        raise WorkspaceError(f"The trash does not hold {missing[0]!r}. See: mlhub trash list")
    return [each for each in found if not names or each.name in names]


async def _restore(trash: Trash, asked: dict[str, Any], record: Record) -> dict[str, Any]:
    item = await trash.find(asked["id"])
    name = item.resource.user if asked["to"] is None else asked["to"]
    server = (item.resource.server or "") if asked["server"] is None else asked["server"]
    user = trash.app.users.get(name)
    if user is None:
        raise WorkspaceError(f"{name!r} is nobody here. Name somebody else: --to NAME")
    await trash.restore(item, user, server)
    log.info("mlhub trash: restored %s as %r of %r.", item.name, server, name)
    about = item.resource.user
    record(RESTORED, service=BY, about=about, name=item.name, to=name, server=server)
    return {"user": name, "server": server}


async def _empty(trash: Trash, asked: dict[str, Any], record: Record) -> dict[str, Any]:
    removed, errors = [], []
    for item in await _choose(trash, asked):
        try:
            await trash.remove(item)
        except MLHubError as error:  # the others go all the same
            errors.append({**item.describe(), "message": str(error)})
        else:
            log.info("mlhub trash: removed %s of %r for good.", item.name, item.resource.user)
            record(REMOVED, service=BY, about=item.resource.user, name=item.name)
            removed.append(item.describe())
    return {"items": removed, "errors": errors}


# the command's side


def add_trash_commands(commands: Any) -> None:
    """Add ``trash list``, ``trash restore`` and ``trash empty`` to the parser."""
    trash = commands.add_parser("trash", help="the data of deleted workspaces: bring it back")
    trash.set_defaults(run=run_trash)
    actions = trash.add_subparsers(dest="action", required=True, metavar="ACTION")
    shown = actions.add_parser("list", help="whose it is, since when, why and until when")
    restore = actions.add_parser("restore", help="make it a server of a person's again")
    restore.add_argument("id", metavar="ID")
    restore.add_argument("--to", metavar="USER", help="somebody else than whose it was")
    restore.add_argument(
        "--server", metavar="NAME", help='under another name; "" is the default workspace'
    )
    empty = actions.add_parser("empty", help="remove it for good")
    empty.add_argument("ids", nargs="*", metavar="ID")
    empty.add_argument("--all", action="store_true", help="everything that the trash holds")
    empty.add_argument("--yes", action="store_true", help="do it; without this it is only told")
    for parser in (shown, empty):
        parser.add_argument("--user", metavar="NAME", help="what was made for this name")
        parser.add_argument("--json", action="store_true", help="print JSON")


def run_trash(chosen: argparse.Namespace) -> int:
    """Ask the hub, and print what it says; return 1 where something could not be done."""
    path = make_socket_path(Settings.load().mlhub_run_dir)
    if chosen.action == "restore":
        question = {"id": chosen.id, "to": chosen.to, "server": chosen.server}
        answer = ask(path, {"action": "restore", **question})
        what = f"server {answer['server']!r}" if answer["server"] else "default workspace"
        print(f"It is the {what} of {answer['user']!r}.")
        return 0
    if chosen.action == "list":
        _show(ask(path, {"action": "list", "user": chosen.user}), chosen.json)
        return 0
    return _run_empty(path, chosen)


def _run_empty(path: Path, chosen: argparse.Namespace) -> int:
    if not (chosen.ids or chosen.user or chosen.all):
        raise SettingsError("Say what is to go: some IDs, --user NAME, or --all.")
    question = {"ids": chosen.ids, "user": chosen.user}
    answer = ask(path, {"action": "empty" if chosen.yes else "list", **question})
    _show(answer, chosen.json)
    for error in answer.get("errors", ()):
        print(f"{error['id']} stays: {error['message']}")
    if not chosen.json:
        count = len(answer["items"])
        print(f"{count} removed for good." if chosen.yes else f"{count} would go; add --yes.")
    return int(bool(answer.get("errors")) or not chosen.yes)


def _show(answer: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(answer))
        return
    for each in answer["items"]:
        whose = each["user"] if each["is_owners"] else f"{each['user']} (former)"
        until = f"until {each['until']}" if each["until"] else "until it is removed"
        print(
            f"{each['id']}  {whose}/{each['server']}  {each['reason']} {each['trashed_at']},"
            f" {until}"
        )
    if not answer["items"]:
        print("Nothing.")
