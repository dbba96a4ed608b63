"""Look at the user's config before anything starts: does it parse, and does it bring a proxy of its own?

Pure reading: the file is not executed here.
"""

from __future__ import annotations

import ast
from pathlib import Path

from mlhub.errors import ConfigurationError


def check_user_config(file: Path) -> ast.Module:
    """Return the parsed user config; a missing file is an empty one.

    Raises ``ConfigurationError`` with file, line and cure.
    """
    if not file.exists():
        return ast.Module([], [])
    if file.is_dir():
        raise ConfigurationError(
            f"{file} is a directory: the file to be mounted there does not exist on the host, so the engine made a directory. Correct the host's path in --volume."
        )
    try:
        return ast.parse(file.read_bytes(), str(file))
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        reason = getattr(error, "msg", str(error))
        text = (getattr(error, "text", "") or "").strip()
        raise ConfigurationError(
            f"{file}, line {line}: {reason}: {text!r}. Correct the file and start the container again; nothing was changed."
        ) from None
    except OSError as error:
        raise ConfigurationError(f"{file} can not be read ({error.strerror}). Make it readable for root.") from error


def names_other_proxy(tree: ast.Module) -> bool:
    """Tell whether the config assigns ``c.JupyterHub.proxy_class``; then CHP is not started."""
    for node in ast.walk(tree):
        targets = node.targets if isinstance(node, ast.Assign) else []
        if any(isinstance(target, ast.Attribute) and ast.unparse(target) == "c.JupyterHub.proxy_class" for target in targets):
            return True
    return False


def explain_missing_engine(socket: Path | None) -> str | None:
    """Return a warning when the engine's socket is not there; the site may have a spawner that needs none."""
    if socket is None or socket.is_socket():
        return None
    return f"There is no container engine at {socket}: no workspace can be started. Start the hub with --volume {socket}:{socket}"
