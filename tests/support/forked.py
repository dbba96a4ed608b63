"""Programs of Python whose imports are done already: each is a fork of one process that did them.

Importing JupyterHub takes most of the processor time of a hub's start.
"""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import os
import runpy
import sys
from multiprocessing.context import ForkServerProcess
from pathlib import Path

IMPORTED = [
    __name__,
    "mlhub.hub.app",
    "mlhub.hub.rooms",
    "mlhub.backends.fake",
    "mlhub.signin.allow_list",
    "mlhub.signin.native.authenticator",
    "mlhub.signin.native.handlers",
    "mlhub.signin.native.admin_handlers",
    "sqlalchemy.dialects.sqlite",
    "tests.support.compiled_templates",
    "tests.support.warm_hub",
]
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(IMPORTED)


def start_program(
    module: str, arguments: list[str], *, folder: Path, environment: dict[str, str], log: Path
) -> ForkServerProcess:
    """Start ``python -m module`` in a folder and a session of its own; what it says goes to the
    end of a file.
    """
    program = _FORKS.Process(
        target=_run, args=(module, arguments, folder, environment, log), daemon=True
    )
    program.start()
    return program


def _run(
    module: str, arguments: list[str], folder: Path, environment: dict[str, str], log: Path
) -> None:
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    with log.open("ab") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        # These programs end themselves; multiprocessing would skip what they leave for their end.
        with contextlib.suppress(Exception):
            atexit._run_exitfuncs()
