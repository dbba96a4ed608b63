"""Look at the services that the hub is to start: one that cannot would be started for ever."""

from __future__ import annotations

import importlib.util
import itertools
import shutil
import sys
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from traitlets.config import Config, LazyConfigValue

from mlhub.errors import ConfigurationError

CURE = (
    "Correct it, or add what is missing in an image of your own (mlhub-pip,"
    " docs/howto/packages.md)."
)


def check_services(c: Config) -> None:
    """Check that what the hub is to start as a service is there.

    Raises ``ConfigurationError``, one line for each that is not.
    """
    services = c.JupyterHub.services
    if isinstance(services, LazyConfigValue):
        # What is to be appended is looked at in a copy: it takes in nothing more once it was read.
        services = deepcopy(services).get_value([])
    sentences = [
        f"c.JupyterHub.services: the service {service.get('name')!r} cannot be started: {missing}."
        f" {CURE}"
        for service in (services if isinstance(services, list | tuple) else ())
        if isinstance(service, Mapping) and (missing := find_missing(service))
    ]
    if sentences:
        raise ConfigurationError("\n".join(sentences))


def find_missing(service: Mapping[str, Any]) -> str:
    """Tell what a service's command lacks; "" for nothing, or no command."""
    command = service.get("command") or []
    words: Sequence[str] = command.split() if isinstance(command, str) else [*map(str, command)]
    if not words:
        return ""
    folder, environment = service.get("cwd"), service.get("environment") or {}
    if folder and not Path(folder).is_dir():
        return f"its folder {str(folder)!r} is not there"
    path = environment.get("PATH") if isinstance(environment, Mapping) else None
    if shutil.which(words[0], path=path) is None and not (Path(folder or ".") / words[0]).is_file():
        return f"the program {words[0]!r} is not in this image"
    return _find_missing_module(words, environment)


def _find_missing_module(words: Sequence[str], environment: Mapping[str, Any]) -> str:
    program = Path(shutil.which(words[0]) or words[0])
    is_ours = program.parent == Path(sys.executable).parent and program.name.startswith("python")
    options = [*itertools.takewhile(lambda word: word.startswith("-"), words[1:])]
    # Only of this very Python it is known what it has.
    if not is_ours or "PYTHONPATH" in environment or "-m" not in options:
        return ""
    module = words[words.index("-m") + 1 :][:1]
    try:
        found = importlib.util.find_spec(module[0].partition(".")[0]) if module else None
    except (ImportError, ValueError):
        found = None
    return "" if found else f"Python has no module {' '.join(module)!r}"
