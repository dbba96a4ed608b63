"""Look at what the site mounts before anything starts.

Pure reading: the user's config is not executed here.
"""

from __future__ import annotations

from pathlib import Path

from mlhub.errors import ConfigurationError
from mlhub.settings import Settings


def find_user_config(settings: Settings) -> Path:
    """Return where the site's user config is, if there is one: what the chart was given, among its
    secrets, else the documented place.
    """
    name = "jupyterhub_user_config.py"
    if settings.mlhub_chart_values:
        # The chart's is always there, and empty where nothing was given.
        given = settings.mlhub_chart_values.parent.parent / "secret" / name
        if given.is_file() and given.stat().st_size:
            return given
    return settings.mlhub_resources_dir / name


def check_user_config(file: Path) -> None:
    """Refuse a user config that Python cannot read; there may be none.

    Raises ``ConfigurationError`` with file, line and cure.
    """
    if not file.exists():
        return
    if file.is_dir():
        raise ConfigurationError(
            f"{file} is a directory: the file to be mounted there does not exist on the host, so"
            " the engine made a directory. Correct the host's path in --volume."
        )
    try:
        compile(file.read_bytes(), str(file), "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        reason = getattr(error, "msg", str(error))
        text = (getattr(error, "text", "") or "").strip()
        raise ConfigurationError(
            f"{file}, line {line}: {reason}: {text!r}. Correct the file and start the container"
            " again; nothing was changed."
        ) from None
    except OSError as error:
        raise ConfigurationError(
            f"{file} cannot be read ({error.strerror}). Make it readable for root."
        ) from error


def explain_missing_engine(socket: Path | None) -> str | None:
    """Return a warning when the engine's socket is not there; the site may have a spawner that
    needs none.
    """
    if socket is None or socket.is_socket():
        return None
    return (
        f"There is no container engine at {socket}: no workspace can be started. Start the hub with"
        f" --volume {socket}:{socket}"
    )
