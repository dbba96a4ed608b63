"""Who may log in, whatever the authenticator: the allow-list file, and the choice of the class.

Invariants: with the file present, exactly the names in it get in (if the authenticator
recognizes them at all); with a file that cannot be understood, nobody does, and who is in
stays in as the last one said that could be.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jupyterhub.auth import Authenticator
from jupyterhub.utils import maybe_future
from nativeauthenticator import NativeAuthenticator
from tornado import web
from traitlets.config import LazyConfigValue

from mlhub.classes import find_class
from mlhub.errors import ConfigurationError
from mlhub.signin.native.authenticator import MLHubNativeAuthenticator
from mlhub.signin.origin import is_workspace_request
from mlhub.signin.sessions import NewSessionMixin

MAX_FILE_BYTES = 16 * 1024 * 1024
LOOK_SECONDS = 0.25
UNCHANGED_SECONDS = 0.75


def read_allow_list(file: Path) -> list[str] | None:
    """Return the names in an allow-list, or None if the file does not exist.

    One name per line; blank lines and lines that begin with ``#`` say nothing, and neither do
    a byte order mark or carriage returns. Raises ``ConfigurationError`` if it cannot be read.
    """
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise ConfigurationError(
                f"The allow-list {file} is larger than {MAX_FILE_BYTES // 2**20} MiB. Nobody is "
                "let in until it is shorter."
            )
        lines = content.decode("utf-8-sig").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        cure = "Mount a text file in UTF-8 that the hub may read"
        raise ConfigurationError(
            f"The allow-list {file} cannot be read ({error}). Nobody is let in until it can. "
            f"{cure}."
        ) from error
    return [name for line in lines if (name := line.strip()) and not name.startswith("#")]


class KnownList:
    """What an allow-list file says to those who are in: looked at again after ``LOOK_SECONDS``, in
    a thread.

    A list that takes somebody out counts once it has stayed the same for ``UNCHANGED_SECONDS``: an
    editor, or a copy, may be half-way through. One that cannot be understood changes nothing.
    """

    def __init__(self, file: Path, normalize: Callable[[str], str]) -> None:
        self.file, self.normalize = file, normalize
        self.names: frozenset[str] | None = frozenset()  # None: no file, and so no list
        # Whom a list names that does not count yet: it may be half written, but they are in it.
        self._announced: frozenset[str] = frozenset()
        self.was_understood = False
        self._mark: Any = ()
        self._seen: tuple[Any, float] = ((), 0.0)
        self._looked_at = -LOOK_SECONDS

    @property
    def is_plausible(self) -> bool:
        """Return True if it may be meant: one that names nobody is more likely half written, or
        lost.
        """
        return self.names is None or bool(self.names)

    def lets_in(self, username: str) -> bool:
        """Return True if it names somebody, or there is none."""
        return self.names is None or username in self.names or username in self._announced

    async def look(self, *, at_once: bool = False) -> None:
        """Read the file again if it has changed."""
        now = time.monotonic()
        if at_once or now - self._looked_at >= LOOK_SECONDS:
            # Of many requests one looks; but none is answered before the first look of all.
            self._looked_at = now if self.was_understood else self._looked_at
            await asyncio.to_thread(self._read, now)

    def _read(self, now: float) -> None:
        try:
            status = self.file.stat()
            mark: Any = (status.st_ino, status.st_mtime_ns, status.st_size)
        except OSError:
            mark = None
        if mark is not None and mark == self._mark:
            return
        try:
            read = read_allow_list(self.file)
        except ConfigurationError:
            return  # whoever signs in is told, and the log
        names = None if read is None else frozenset(map(self.normalize, read))
        if mark != self._seen[0]:
            self._seen = (mark, now)
        if (
            self.was_understood
            and self._lacks_somebody(names)
            and now - self._seen[1] < UNCHANGED_SECONDS
        ):
            self._announced = names or frozenset()
            return
        self.names, self.was_understood, self._mark = names, True, mark
        self._announced = frozenset()

    def _lacks_somebody(self, names: frozenset[str] | None) -> bool:
        return names is not None and (self.names is None or not self.names <= names)


class AllowListMixin:
    """Let in the people named in ``allow_list_path``, and nobody else, as long as that file exists.

    It acts in two places. ``check_blocked_users`` runs at every login, before and whatever
    ``allow_all`` says: there everybody else is refused, administrators too. ``check_allowed``
    lets the named in where the authenticator itself has no rule for them; an authenticator
    that forbids somebody outright (by raising) still has the last word.
    The file is read at each login, in a thread: a change takes effect at once.
    Who is in already is asked about at each request (``is_still_let_in``).
    """

    allow_list_path: Path | None = None
    _known_list: KnownList | None = None

    async def get_authenticated_user(self, handler: Any, data: Any, **options: Any) -> Any:
        """Sign somebody in, but from the side of workspaces nobody: passwords are tried in front,
        where attempts are counted for their source.
        """
        if is_workspace_request(handler.request):
            raise web.HTTPError(403, "Nobody signs in by this port. Open the hub's public address.")
        return await super().get_authenticated_user(handler, data, **options)  # type: ignore[misc]

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

    async def is_still_let_in(self, username: str) -> bool:
        """Return True if somebody who is in may stay: not blocked, and named by the list as it was
        last understood.
        """
        if not await maybe_future(super().check_blocked_users(username, None)):  # type: ignore[misc]
            return False
        known = await self.look_at_list()
        if known is not None and not known.lets_in(username):
            await known.look(at_once=True)  # whoever was listed this moment has signed in by now
        return known is None or known.lets_in(username)

    async def look_at_list(self) -> KnownList | None:
        """Return what the file last said; None where there is to be none."""
        if self.allow_list_path is None:
            return None
        if self._known_list is None:
            self._known_list = KnownList(self.allow_list_path, self.normalize_username)  # type: ignore[attr-defined]
        await self._known_list.look()
        return self._known_list

    async def _is_listed(self, username: str) -> bool | None:
        """Return True if the file names somebody; None if there is no file."""
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
        """Warn when the hub starts: of a list that is asked for and not there, and when nobody but
        the administrators can sign in; say how to change that.
        """
        self._warn_of_missing_list()
        if self.any_allow_config:  # type: ignore[attr-defined]
            super().check_allow_config()  # type: ignore[misc]
            return
        file = self.allow_list_path
        if file is not None and file.exists():
            return
        name = type(self).__name__
        admins = ", ".join(sorted(self.admin_users)) or "none are named"  # type: ignore[attr-defined]
        listed = (
            f"create {file}"
            if file
            else "set DYNAMIC_WHITELIST_ENABLED=true and mount a list of names"
        )
        self.log.warning(  # type: ignore[attr-defined]
            "%s has no rule that lets anybody in but the administrators (%s). Set c.%s.allow_all = "
            "True to let in everybody whom the sign-in service lets in, or c.%s.allowed_users = "
            "{'a-name'}, or %s.",
            *(name, admins, name, name, listed),
        )

    def _warn_of_missing_list(self) -> None:
        file = self.allow_list_path
        if file is not None and not file.exists():
            self.log.warning(  # type: ignore[attr-defined]
                "DYNAMIC_WHITELIST_ENABLED asks for the list of names %s, which is not there: the"
                " authenticator's own rules decide who gets in. Mount it (the chart:"
                " mlhub.allowList), or unset the variable.",
                file,
            )


def with_allow_list(
    authenticator_class: type[Authenticator], file: Path | str | None
) -> type[Authenticator]:
    """Return a subclass of an authenticator class that also obeys the allow-list ``file`` (None: no
    list), and renews sessions.

    The name stays, so that sections like ``c.GitHubOAuthenticator`` keep reaching it.
    Raises ``ConfigurationError`` for a class whose own rules would be skipped.
    """
    for old, new in (
        ("check_whitelist", "check_allowed"),
        ("check_blacklist", "check_blocked_users"),
    ):
        owner = next(
            cls for cls in authenticator_class.__mro__ if old in vars(cls) or new in vars(cls)
        )
        if new not in vars(owner):
            raise ConfigurationError(
                f"{owner.__name__}.{old} is a name of JupyterHub before 1.2. Rename it to {new}."
            )
    mixins = tuple(
        mixin
        for mixin in (NewSessionMixin, AllowListMixin)
        if not issubclass(authenticator_class, mixin)
    )
    attributes = {
        "allow_list_path": Path(file) if file else None,
        "__doc__": authenticator_class.__doc__,
        "__module__": __name__,
    }
    return type(authenticator_class.__name__, (*mixins, authenticator_class), attributes)


def resolve_authenticator(value: Any = None, file: Path | str | None = None) -> type[Authenticator]:
    """Return the class to use for a value of ``c.JupyterHub.authenticator_class``.

    Args:
        value: a class, an entry point's name (``"github"``), ``"package.Class"``, or nothing for
            our default.
        file: the allow-list to obey, None for none.

    NativeAuthenticator, and subclasses of it that do not know ours, get our repairs underneath.
    Raises ``ConfigurationError`` for something that is no authenticator.
    """
    if value is None or isinstance(value, LazyConfigValue) or value == "":
        value = MLHubNativeAuthenticator
    found = find_class("authenticator_class", value, "jupyterhub.authenticators", Authenticator)
    if found is NativeAuthenticator:
        found = MLHubNativeAuthenticator
    elif issubclass(found, NativeAuthenticator) and not issubclass(found, MLHubNativeAuthenticator):
        # The site's methods come first, then ours, then upstream's.
        found = type(
            found.__name__,
            (found, MLHubNativeAuthenticator),
            {"__module__": found.__module__, "__doc__": found.__doc__},
        )
    return with_allow_list(found, file)
