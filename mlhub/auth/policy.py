"""Who may log in, whatever the authenticator: the allow-list file, and the choice of the class.

Promise: with the file present, exactly the names in it get in (if the authenticator
recognises them at all); with a file that can not be understood, nobody does.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
from pathlib import Path
from typing import Any

from jupyterhub.auth import Authenticator
from jupyterhub.utils import maybe_future
from nativeauthenticator import NativeAuthenticator
from traitlets.config import LazyConfigValue
from traitlets.utils.importstring import import_item

from mlhub.auth.native import MLHubNativeAuthenticator
from mlhub.errors import ConfigurationError

MAX_FILE_BYTES = 16 * 1024 * 1024


def read_allow_list(file: Path) -> list[str] | None:
    """Return the names in an allow-list, or None if the file does not exist.

    One name per line; blank lines and lines that begin with ``#`` say nothing, and neither do
    a byte order mark or carriage returns. Raises ``ConfigurationError`` if it can not be read.
    """
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise ConfigurationError(
                f"The allow-list {file} is larger than {MAX_FILE_BYTES // 2**20} MiB. Nobody is let in until it is shorter."
            )
        lines = content.decode("utf-8-sig").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        cure = "Mount a text file in UTF-8 that the hub may read"
        raise ConfigurationError(f"The allow-list {file} can not be read ({error}). Nobody is let in until it can. {cure}.") from error
    return [name for line in lines if (name := line.strip()) and not name.startswith("#")]


class AllowListMixin:
    """Let in the people named in ``allow_list_path``, and nobody else, as long as that file exists.

    It acts in two places. ``check_blocked_users`` runs at every login, before and whatever
    ``allow_all`` says: there everybody else is refused, administrators too. ``check_allowed``
    lets the named in where the authenticator itself has no rule for them; an authenticator
    that forbids somebody outright (by raising) still has the last word.
    The file is read at each login, in a thread: a change takes effect at once.
    """

    allow_list_path: Path | None = None

    async def check_blocked_users(self, username: str, authentication: Any = None) -> bool:
        """Refuse blocked people and, while the file exists, all who are not in it."""
        if not await maybe_future(super().check_blocked_users(username, authentication)):  # type: ignore[misc]
            return False
        return await self._is_listed(username) is not False

    async def check_allowed(self, username: str, authentication: Any = None) -> bool:
        """Let in those whom the authenticator's own rules or the file name."""
        if await maybe_future(super().check_allowed(username, authentication)):  # type: ignore[misc]
            return True
        return await self._is_listed(username) is True

    async def _is_listed(self, username: str) -> bool | None:
        """Tell whether the file names somebody; None if there is no file."""
        if self.allow_list_path is None:
            return None
        try:
            names = await asyncio.to_thread(read_allow_list, self.allow_list_path)
        except ConfigurationError as error:
            self.log.error("%s", error)  # type: ignore[attr-defined]
            return False
        if names is None:
            return None
        # Names are compared as JupyterHub compares `allowed_users`.
        return username in {self.normalize_username(name) for name in names}  # type: ignore[attr-defined]

    def check_allow_config(self) -> None:
        """Warn once when nobody but the administrators can sign in, and say how to change that."""
        if self.any_allow_config:  # type: ignore[attr-defined]
            super().check_allow_config()  # type: ignore[misc]
            return
        file = self.allow_list_path
        if file is not None and file.exists():
            return
        name = type(self).__name__
        admins = ", ".join(sorted(self.admin_users)) or "none are named"  # type: ignore[attr-defined]
        listed = f"create {file}" if file else "set DYNAMIC_WHITELIST_ENABLED=true and mount a list of names"
        self.log.warning(  # type: ignore[attr-defined]
            "%s has no rule that lets anybody in but the administrators (%s). Set c.%s.allow_all = True to let in everybody "
            "whom the sign-in service lets in, or c.%s.allowed_users = {'a-name'}, or %s.",
            *(name, admins, name, name, listed),
        )


def with_allow_list(authenticator_class: type[Authenticator], file: Path | str | None) -> type[Authenticator]:
    """Return a subclass of an authenticator class that also obeys the allow-list ``file`` (None: no list).

    The name stays, so that sections like ``c.GitHubOAuthenticator`` keep reaching it.
    Raises ``ConfigurationError`` for a class whose own rules would be skipped.
    """
    for old, new in (("check_whitelist", "check_allowed"), ("check_blacklist", "check_blocked_users")):
        owner = next(cls for cls in authenticator_class.__mro__ if old in vars(cls) or new in vars(cls))
        if new not in vars(owner):
            raise ConfigurationError(f"{owner.__name__}.{old} is a name of JupyterHub before 1.2. Rename it to {new}.")
    bases = (authenticator_class,) if issubclass(authenticator_class, AllowListMixin) else (AllowListMixin, authenticator_class)
    attributes = {"allow_list_path": Path(file) if file else None, "__doc__": authenticator_class.__doc__, "__module__": __name__}
    return type(authenticator_class.__name__, bases, attributes)


def resolve_authenticator(value: Any = None, file: Path | str | None = None) -> type[Authenticator]:
    """Return the class to use for a value of ``c.JupyterHub.authenticator_class``.

    Args:
        value: a class, an entry point's name (``"github"``), ``"package.Class"``, or nothing for our default.
        file: the allow-list to obey, None for none.

    NativeAuthenticator, and subclasses of it that do not know ours, get our repairs underneath.
    Raises ``ConfigurationError`` for something that is no authenticator.
    """
    if value is None or isinstance(value, LazyConfigValue) or value == "":
        value = MLHubNativeAuthenticator
    found = _import_authenticator(value) if isinstance(value, str) else value
    if not (isinstance(found, type) and issubclass(found, Authenticator)):
        raise ConfigurationError(f"c.JupyterHub.authenticator_class = {value!r} is not a subclass of jupyterhub.auth.Authenticator.")
    if found is NativeAuthenticator:
        found = MLHubNativeAuthenticator
    elif issubclass(found, NativeAuthenticator) and not issubclass(found, MLHubNativeAuthenticator):
        # The site's methods come first, then ours, then upstream's.
        found = type(found.__name__, (found, MLHubNativeAuthenticator), {"__module__": found.__module__, "__doc__": found.__doc__})
    return with_allow_list(found, file)


def _import_authenticator(name: str) -> Any:
    registered = {entry.name.lower(): entry for entry in importlib.metadata.entry_points(group="jupyterhub.authenticators")}
    try:
        return registered[name.lower()].load() if name.lower() in registered else import_item(name)
    except ImportError as error:
        known = ", ".join(sorted(registered))
        raise ConfigurationError(
            f"c.JupyterHub.authenticator_class = {name!r} can not be imported ({error}). Write 'package.module.Class' or one of: {known}."
        ) from error
