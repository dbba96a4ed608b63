"""``mlhub cleanup``: one pass of the cleanup service, or what it would do.

Invariants: it is the hub that decides and removes; this command asks it.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from mlhub.cleanup.control import make_socket_path
from mlhub.cleanup.plan import Task
from mlhub.errors import SettingsError
from mlhub.settings import Settings
from mlhub.workspaces.hub_socket import ask


def add_cleanup_command(commands: Any) -> None:
    """Add ``cleanup`` to the parser."""
    cleanup = commands.add_parser(
        "cleanup", help="remove what expired and what nobody owns; --dry-run only tells"
    )
    cleanup.add_argument(
        "task",
        nargs="*",
        metavar="TASK",
        help=f"{', '.join(Task)}; by default all of them, one after the other",
    )
    cleanup.add_argument("--dry-run", action="store_true", help="remove nothing")
    cleanup.add_argument(
        "--confirm",
        default="",
        metavar="WORD",
        help="remove what was held back, too; the word is the one that was printed with it",
    )
    cleanup.add_argument("--json", action="store_true", help="print JSON, one object per task")
    cleanup.set_defaults(run=run_cleanup)


def run_cleanup(chosen: argparse.Namespace) -> int:
    """Ask the hub, and print what it says; return 1 where something is held back or failed."""
    unknown = [word for word in chosen.task if word not in set(Task)]
    if unknown:
        raise SettingsError(
            f"{unknown[0]!r} is no task of cleanup. Write {', '.join(Task)}, or nothing for all."
        )
    path = make_socket_path(Settings.load().mlhub_run_dir)
    code = 0
    for task in chosen.task or Task:
        question = {"task": task, "dry_run": chosen.dry_run, "confirm": chosen.confirm}
        answer = ask(path, question)
        print(json.dumps(answer) if chosen.json else "\n".join(_show(answer)))
        code |= bool(answer["held"] or answer["errors"])
    return code


def _show(answer: dict[str, Any]) -> list[str]:
    done = "due" if answer["dry_run"] else "removed"
    word = "would be removed" if answer["dry_run"] else "removed"
    lines = [f"{answer['task']}: {len(answer[done])} {word}"]
    lines += [_show_item(each) for each in answer[done]]
    for key, text in (
        ("waiting", "seen, and removed if they are still there ten minutes later"),
        ("kept", "stay"),
        ("errors", "could not be removed"),
        ("held", f"held back; --confirm {answer['confirm']} removes them"),
    ):
        if answer[key]:
            lines += [f"  {len(answer[key])} {text}:", *map(_show_item, answer[key])]
    return lines + [f"  {problem}" for problem in answer["problems"]]


def _show_item(item: dict[str, Any]) -> str:
    return f"    {item['kind']:<10} {item['name']}  {item.get('message') or item['reason']}"
