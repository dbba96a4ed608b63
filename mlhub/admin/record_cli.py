"""``mlhub audit``: check the record of who did what, and read it."""

from __future__ import annotations

import argparse
import json
from typing import Any

from mlhub.admin.record import FILE, read_latest, verify
from mlhub.settings import Settings


def add_audit_commands(commands: Any) -> None:
    """Add ``audit verify`` and ``audit show`` to the parser."""
    audit = commands.add_parser("audit", help="the record of who did what")
    actions = audit.add_subparsers(dest="action", required=True, metavar="ACTION")
    check = actions.add_parser(
        "verify", help="exit code 1 where lines were changed or taken out; prints the last digest"
    )
    check.add_argument(
        "--head", metavar="DIGEST", help="a digest noted earlier, which has to be in the record"
    )
    show = actions.add_parser("show", help="the latest records as JSON lines, the newest first")
    show.add_argument("--person", metavar="NAME", help="what they did, and what concerned them")
    show.add_argument("--limit", type=int, default=100, metavar="N")
    audit.set_defaults(run=run_audit)


def run_audit(chosen: argparse.Namespace) -> int:
    """Run one of the commands; return the exit code."""
    file = Settings.load().data_volume_container / FILE
    if chosen.action == "show":
        for record in read_latest(file, person=chosen.person, limit=chosen.limit):
            print(json.dumps(record))
        return 0
    verdict = verify(file, chosen.head)
    for sentence in verdict.trouble:
        print(sentence)
    if not verdict.trouble:
        print(f"{verdict.lines} records, none changed; the last one's digest is {verdict.head}")
    return int(bool(verdict.trouble))
