"""Run the user's config file on the prepared ``c``, so that it can read what is already there.

JupyterHub's ``load_subconfig`` would hand it an empty config, and the documented
``c.Spawner.workspace_images = [c.Spawner.image, "…"]`` would fail.
"""

from __future__ import annotations

import ast
import traceback
from pathlib import Path

from traitlets.config import Config

from mlhub.errors import ConfigurationError
from mlhub.settings import Settings
from mlhub.traits import USER_CONFIG

NAME = USER_CONFIG
# Section and trait → the file and the line that say it last.
Lines = dict[tuple[str, str], str]


def find_user_config(settings: Settings) -> Path | None:
    """Return the copy that boot made readable for the hub, else the mounted file, else None."""
    for folder in (settings.mlhub_run_dir, settings.mlhub_resources_dir):
        if (folder / NAME).is_file():
            return folder / NAME
    return None


def run_user_config(c: Config, file: Path, *, shown_as: Path | None = None) -> Lines:
    """Execute ``file`` with ``c``, ``get_config`` and ``load_subconfig`` as JupyterHub's own files
    have them, and return what it says where.

    Raises ``ConfigurationError`` that names the file, the line and the reason.
    """
    shown = shown_as or file
    lines: Lines = {}

    def load_subconfig(name: str, path: str | None = None) -> None:
        lines.update(run_user_config(c, Path(path or shown.parent) / name))

    names = {
        "c": c,
        "get_config": lambda: c,
        "load_subconfig": load_subconfig,
        "__file__": str(shown),
        "__name__": "jupyterhub_user_config",
    }
    try:
        tree = ast.parse(file.read_bytes(), str(shown))
        # It is the site's own configuration.
        exec(compile(tree, str(shown), "exec"), names)  # noqa: S102
    except ConfigurationError:
        raise
    except (Exception, SystemExit) as error:  # the file may raise anything
        frames = [
            frame
            for frame in traceback.extract_tb(error.__traceback__)
            if frame.filename == str(shown)
        ]
        line = frames[-1].lineno if frames else getattr(error, "lineno", None)
        raise ConfigurationError(
            f"{shown}, line {line}: {type(error).__name__}: {error}. Correct the file and start the"
            " container again."
        ) from error
    lines.update(find_lines(tree, shown.name))
    return lines


def find_lines(tree: ast.Module, file: str) -> Lines:
    """Find the lines that write ``c.Section.trait``, whatever ``c`` is called there.

    What a file sets in another way (``setattr``, a loop) has no line here.
    """
    found: dict[tuple[str, str], tuple[bool, int]] = {}
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Attribute)
            and isinstance(node.value.value, ast.Name)
        ):
            # The left side of an assignment, else a method that changes the value in place.
            key, place = (
                (node.value.attr, node.attr),
                (isinstance(node.ctx, ast.Store), node.lineno),
            )
            found[key] = max(place, found.get(key, place))
    return {key: f"{file}, line {line}" for key, (_, line) in found.items()}
