"""``mlhub doctor``."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import Any

from mlhub.admin.doctor import examine
from mlhub.backends.finding import Level
from mlhub.settings import Settings


def add_doctor_command(commands: Any) -> None:
    """Add ``doctor`` to the parser."""
    doctor = commands.add_parser(
        "doctor", help="look at everything that people need; exit code 1 where something fails"
    )
    doctor.add_argument("--json", action="store_true", help="for programs")
    doctor.set_defaults(run=run_doctor)


def run_doctor(chosen: argparse.Namespace) -> int:
    """Print what was found."""
    findings = examine(Settings.load())
    if chosen.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            print(f"{finding.level:<8} {finding.subject:<15} {finding.text}")
            if finding.cure:
                print(f"{'':<24} {finding.cure}")
    return int(any(finding.level is Level.FAILS for finding in findings))
