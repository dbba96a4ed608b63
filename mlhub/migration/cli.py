"""``mlhub import``: the configuration of a neighbor becomes files for this hub.

Invariants: no file is overwritten, and nothing that is imported is executed.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mlhub.errors import ConfigurationError
from mlhub.migration.outcome import REPORT, Outcome
from mlhub.migration.python_file import import_python
from mlhub.migration.report import list_told, render_report
from mlhub.migration.tljh import import_tljh
from mlhub.migration.z2jh import import_z2jh

MAX_BYTES = 4 * 2**20
KINDS: Mapping[str, tuple[Callable[[str, str], Outcome], str]] = {
    "z2jh": (import_z2jh, "values of the chart of Zero to JupyterHub (values.yaml)"),
    "tljh": (import_tljh, "The Littlest JupyterHub's config.yaml"),
    "jupyterhub-config": (import_python, "a jupyterhub_config.py, which is read and not run"),
}


def add_import_command(commands: Any) -> None:
    """Add ``import`` to the parser."""
    command = commands.add_parser(
        "import", help="make this hub's files of a neighbor's configuration"
    )
    kinds = command.add_subparsers(dest="kind", required=True, metavar="KIND")
    for name, (_, text) in KINDS.items():
        kind = kinds.add_parser(name, help=text)
        kind.add_argument("file", type=Path, metavar="FILE")
        kind.add_argument(
            "--output",
            type=Path,
            default=Path("mlhub-import"),
            metavar="FOLDER",
            help="a new folder, or one without such files; by default mlhub-import",
        )
        kind.set_defaults(run=run_import)


def run_import(chosen: argparse.Namespace) -> int:
    """Write the files and the report; print what cannot be carried."""
    text = read_file(chosen.file)
    try:
        outcome = KINDS[chosen.kind][0](text, chosen.file.name)
    except RecursionError:
        raise ConfigurationError(f"{chosen.file} is nested too deeply. Correct it.") from None
    files = {**outcome.make_files(), REPORT: render_report(chosen.file.name, outcome)}
    write_files(chosen.output, files)
    for line in list_told("Not carried", outcome.left, "Everything was carried.")[1:]:
        print(line)
    print(f"\n{chosen.output} has {', '.join(files)}. Read {REPORT} first.")
    return 0


def read_file(file: Path) -> str:
    """Read a file of a bounded size. Raises ``ConfigurationError``."""
    try:
        with file.open("rb") as source:
            content = source.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise ConfigurationError(
                f"{file} is larger than {MAX_BYTES // 2**20} MiB. Name a configuration."
            )
        return content.decode()
    except OSError as error:
        raise ConfigurationError(
            f"{file} cannot be read: {error.strerror}. Name the file."
        ) from error
    except UnicodeDecodeError:
        raise ConfigurationError(f"{file} is no text in UTF-8. Name a configuration.") from None


def write_files(folder: Path, files: Mapping[str, str]) -> None:
    """Write new files, which only their owner may read. Raises ``ConfigurationError``."""
    if there := [name for name in files if (folder / name).exists()]:
        raise ConfigurationError(
            f"{folder} has {', '.join(there)} already. Name another folder: --output FOLDER."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as output:
                output.write(text)
    except OSError as error:
        raise ConfigurationError(f"{folder} cannot be written: {error.strerror}.") from error
