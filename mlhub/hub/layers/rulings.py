"""All rulings of this product, by the upstream class whose traits they are about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from mlhub.backends.registry import BackendKind, list_ours
from mlhub.hub.layers.classes import Classes
from mlhub.hub.layers.hub_rulings import JUPYTERHUB, PROXY
from mlhub.signin.rulings import AUTHENTICATOR, NATIVE
from mlhub.traits import Ruling, Rulings


class Table(NamedTuple):
    """What becomes of the traits of one upstream class."""

    upstream: str  # where it can be imported
    ours: str  # the name of our class that is made from it
    rulings: Rulings


def list_tables() -> list[Table]:
    """List the tables, those of all our backends among them."""
    return [
        Table("jupyterhub.app.JupyterHub", "MLHub", JUPYTERHUB),
        Table("jupyterhub.proxy.ConfigurableHTTPProxy", "WatchedProxy", PROXY),
        *(_make_table(kind) for kind in list_ours()),
        Table("jupyterhub.auth.Authenticator", "Authenticator", AUTHENTICATOR),
        Table("nativeauthenticator.NativeAuthenticator", "MLHubNativeAuthenticator", NATIVE),
    ]


def list_rulings(kind: BackendKind, classes: Classes) -> Mapping[type, Rulings]:
    """List the rulings about the classes of one hub; about one of a site's own that is made from
    none of ours there are none.
    """
    ours = {table.ours: table.rulings for table in list_tables() if table.ours != kind.spawner_name}
    ours[kind.spawner_name] = kind.rulings()
    return {
        cls: next((ours[base.__name__] for base in cls.__mro__ if base.__name__ in ours), {})
        for cls in classes
    }


def find(ruled: Mapping[type, Rulings], cls: type, trait: str) -> Ruling | None:
    """Find the ruling about a trait of a class."""
    return ruled.get(cls, {}).get(trait)


def _make_table(kind: BackendKind) -> Table:
    return Table(kind.upstream, kind.spawner_name, kind.rulings())
