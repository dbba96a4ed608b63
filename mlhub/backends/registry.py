"""Which backends there are, and what each says about itself.

Ours are listed here. A site's own is a package that is installed beside us, with an entry point of
the group ``mlhub.backends`` that leads to a ``BackendKind``; docs/howto/own-backend.md has one.

Invariants: nothing here imports what a backend runs on, and a package that is broken harms nobody
who has not chosen its mode.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from mlhub.backends.finding import Finding
from mlhub.backends.volume_archive import VolumeArchive
from mlhub.errors import SettingsError
from mlhub.options.option import Option
from mlhub.settings import DNS_LABEL, Settings, read_environment
from mlhub.traits import Rulings

GROUP = "mlhub.backends"
OURS = tuple(
    EntryPoint(name, f"mlhub.backends.{name}.kind:KIND", GROUP) for name in ("docker", "kubernetes")
)
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BackendKind:
    """What a backend says about itself.

    ``facts`` are what the deployment has decided, trait of the spawner → (value, the place where
    that is to be changed); ``preferences`` are defaults that the user's file may change. ``check``
    raises ``SettingsError`` for variables that mean nothing here. ``find_socket`` returns the
    socket through which the hub reaches the place, whose group the hub's account gets.
    """

    name: str  # for people: "Docker"
    modes: tuple[str, ...]  # values of EXECUTION_MODE
    spawner: str  # where its class can be imported
    max_hub_name: int = 40  # characters of HUB_NAME
    runs_proxy: bool = True  # beside the hub, in the same container
    # What people may ask for there; None: everything.
    options: tuple[Option, ...] | None = None
    has_ssh: bool = False  # its spawner has the traits of mlhub.backends.ssh
    facts: Callable[[Settings], Mapping[str, tuple[Any, str]]] = lambda settings: {}
    preferences: Callable[[Settings], Mapping[str, Any]] = lambda settings: {}
    check: Callable[[Settings], None] = lambda settings: None
    find_socket: Callable[[Settings], Path | None] = lambda settings: None
    add_commands: Callable[[Any], None] | None = None  # to the parser of ``mlhub``
    # What ``mlhub doctor`` asks of the place itself.
    examine: Callable[[Settings], Coroutine[Any, Any, list[Finding]]] | None = None
    # How ``mlhub backup`` reaches the volumes; None where the place has means of its own.
    open_volumes: Callable[[Settings], VolumeArchive] | None = None
    # The spawner that its own is made from, where it can be imported, and what becomes of the
    # traits of that one.
    upstream: str = ""
    rulings: Callable[[], Rulings] = dict

    @property
    def spawner_name(self) -> str:
        """Name of the spawner's class, by which configurations reach it."""
        return self.spawner.rpartition(".")[2]


def list_ours() -> list[BackendKind]:
    """List the backends of this product; what a site has installed is not looked at."""
    return [_load(entry) for entry in OURS]


def list_kinds() -> list[BackendKind]:
    """List the backends that can be loaded, ours first; what is wrong with others is logged."""
    kinds = []
    for entry in (*OURS, *entry_points(group=GROUP)):
        try:
            kinds.append(_load(entry))
        except SettingsError as error:
            log.warning("%s", error)
    return kinds


@cache
def find_kind(mode: str) -> BackendKind:
    """Return the backend of a value of EXECUTION_MODE. Raises ``SettingsError`` where there is
    none.
    """
    known: list[str] = []
    broken: list[SettingsError] = []
    # Ours first: a start does not look through all installed packages for them.
    for entries in (lambda: OURS, lambda: entry_points(group=GROUP)):
        for entry in entries():
            try:
                kind = _load(entry)
            except SettingsError as error:
                broken.append(error)
                continue
            if mode in kind.modes:
                return kind
            known += kind.modes
    if broken:
        # One of these may be the one that was meant.
        raise SettingsError("\n".join(str(error) for error in broken))
    modes = [repr(each) for each in known]
    shown = " or ".join([", ".join(modes[:-1]), modes[-1]])
    raise SettingsError(f"EXECUTION_MODE={mode!r} is not one of {shown}.")


def read_settings(environment: dict[str, str] | None = None) -> Settings:
    """Read the environment (this process's own by default), as the chosen backend understands it.

    Raises ``SettingsError`` with one sentence for each wrong variable.
    """
    environment = read_environment() if environment is None else environment
    try:
        settings = Settings.from_environment(environment)
    except SettingsError as error:
        raise SettingsError("\n".join([*_list_wrong_modes(environment), str(error)])) from None
    kind = find_kind(settings.execution_mode)
    name = settings.hub_name
    if not DNS_LABEL.match(name) or len(name) > kind.max_hub_name:
        raise SettingsError(
            f"HUB_NAME={name!r} is not a DNS label (a-z, 0-9, '-'; 1-{kind.max_hub_name}"
            " characters). Pass e.g. --env HUB_NAME=mlhub."
        )
    kind.check(settings)
    if not settings.start_jhub:
        return settings
    _check_proxy(settings, kind)
    # Where the hub runs, the backend says if the proxy does: its documented default is "false".
    proxy = (settings.start_chp or None) if kind.runs_proxy else False
    return settings.model_copy(update={"start_chp": proxy})


def _list_wrong_modes(environment: Mapping[str, str]) -> list[str]:
    """Return what is wrong with the mode, for whoever has other variables to correct as well."""
    mode = environment.get("EXECUTION_MODE", "")
    try:
        if mode.strip():
            find_kind(mode)
    except SettingsError as error:
        return [str(error)]
    return []


def _check_proxy(settings: Settings, kind: BackendKind) -> None:
    url = settings.mlhub_proxy_api_url
    if url and kind.runs_proxy and not settings.mlhub_other_proxy:
        raise SettingsError(
            f"MLHUB_PROXY_API_URL={url!r} names a proxy elsewhere, but beside this hub runs its"
            " own. Unset it, or set EXECUTION_MODE=k8s."
        )
    if url and not settings.configproxy_auth_token:
        raise SettingsError(
            f"MLHUB_PROXY_API_URL={url!r} needs the token that the proxy there knows. Set"
            " CONFIGPROXY_AUTH_TOKEN to the same value for both."
        )


def _load(entry: EntryPoint) -> BackendKind:
    try:
        kind = entry.load()
    except Exception as error:
        # The package may raise anything.
        raise SettingsError(
            f"The backend {entry.name!r} ({entry.value}) cannot be loaded: {type(error).__name__}:"
            f" {error}. Correct the package, or remove it."
        ) from error
    if not isinstance(kind, BackendKind):
        raise SettingsError(
            f"The backend {entry.name!r} ({entry.value}) is no mlhub.backends.registry.BackendKind."
            " Correct the package, or remove it."
        )
    return kind
