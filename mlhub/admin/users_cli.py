"""``mlhub users``: list, invite, authorize, unlock and delete people.

Invariants: the hub does it; this command asks. Nobody is deleted without ``--yes``, and no password
is ever shown or typed.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from mlhub.admin.users import make_socket_path
from mlhub.settings import Settings
from mlhub.workspaces.hub_socket import ask


def add_users_commands(commands: Any) -> None:
    """Add ``users list`` and its neighbors to the parser."""
    users = commands.add_parser("users", help="people: who is here, invite, unlock, delete")
    users.set_defaults(run=run_users)
    actions = users.add_subparsers(dest="action", required=True, metavar="ACTION")
    shown = actions.add_parser("list", help="who is here, and what their workspaces take now")
    shown.add_argument("--search", metavar="TEXT", default="", help="part of the name")
    invite = actions.add_parser("invite", help="make links by which people choose a password")
    invite.add_argument("names", nargs="+", metavar="NAME")
    invite.add_argument("--group", metavar="GROUP", default="", help="put them into this group")
    for action, text in (
        ("authorize", "let somebody in who signed up"),
        ("withdraw", "let somebody in no more; their data is kept"),
        ("unlock", "end the lock after wrong passwords"),
    ):
        actions.add_parser(action, help=text).add_argument("name", metavar="NAME")
    delete = actions.add_parser("delete", help="delete a person; their data moves to the trash")
    delete.add_argument("name", metavar="NAME")
    delete.add_argument("--yes", action="store_true", help="do it; without this it is only told")
    for parser in (shown, invite):
        parser.add_argument("--json", action="store_true", help="print JSON")


def run_users(chosen: argparse.Namespace) -> int:
    """Ask the hub, and print what it says; return 1 where nothing was done."""
    path = make_socket_path(Settings.load().mlhub_run_dir)
    if chosen.action == "list":
        people = ask(path, {"action": "list", "search": chosen.search})["people"]
        print(json.dumps(people) if chosen.json else _write_table(people))
    elif chosen.action == "invite":
        question = {"action": "invite", "names": chosen.names, "group": chosen.group}
        links = ask(path, question)["links"]
        lines = [f"{link['user']}: {link['url']} (until {link['expires_at']})" for link in links]
        print(json.dumps(links) if chosen.json else "\n".join(lines))
    elif chosen.action == "delete":
        return _delete(path, chosen)
    else:
        ask(path, {"action": chosen.action, "name": chosen.name})
        print("Done.")
    return 0


def _delete(path: Path, chosen: argparse.Namespace) -> int:
    answer = ask(path, {"action": "delete", "name": chosen.name, "is_meant": chosen.yes})
    servers = ", ".join(repr(name) if name else "the default one" for name in answer["servers"])
    what = f"Workspaces: {servers or 'none'}; their data moves to the trash."
    if chosen.yes:
        print(f"{chosen.name!r} is deleted. {what}")
        return 0
    print(f"{chosen.name!r} would be deleted. {what} Add --yes.")
    return 1


def _write_table(people: list[dict[str, Any]]) -> str:
    rows = [("NAME", "SIGNS IN", "GROUPS", "LAST SEEN", "RUNNING", "MEMORY", "DISK")]
    for each in people:
        signs_in = {None: "elsewhere", True: "yes", False: "no"}[each["may_sign_in"]]
        if each["locked_minutes"]:
            signs_in = f"locked for {each['locked_minutes']} min"
        name = f"{each['name']} (admin)" if each["is_admin"] else each["name"]
        groups, seen = ",".join(each["groups"]) or "-", each["last_seen"] or "never"
        running, disk = str(each["running"]), each["disk"] or "-"
        rows.append((name, signs_in, groups, seen, running, each["memory"], disk))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return "\n".join(lines)
