"""What becomes of one trait that a file of a neighbor sets, by the rulings by which the hub judges
a site's own file. Pure: no I/O.
"""

from __future__ import annotations

import difflib
import importlib.metadata
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from mlhub.backends.registry import find_kind, list_ours
from mlhub.hub.layers.hub_rulings import JUPYTERHUB, PROXY
from mlhub.hub.layers.traits import show
from mlhub.migration.spawners import judge_foreign_spawner
from mlhub.signin.rulings import AUTHENTICATOR, NATIVE
from mlhub.traits import Outcome as Ruled
from mlhub.traits import RefusedLineError, Ruling, Rulings, check_value


class Unknown:
    """A value that only running the file would tell."""


UNKNOWN = Unknown()
DATABASE = (
    "the hub keeps its database under /data. To go on with this one, stop its hub and copy the file"
    " to jupyterhub.sqlite in the volume that is mounted there."
)
RENAMED = {
    ("Authenticator", "blacklist"): "blocked_users",
    ("Authenticator", "whitelist"): "allowed_users",
    ("GitHubOAuthenticator", "org_whitelist"): "allowed_organizations",
    ("GitHubOAuthenticator", "github_organization_whitelist"): "allowed_organizations",
    ("GitLabOAuthenticator", "gitlab_group_whitelist"): "allowed_gitlab_groups",
    ("GoogleOAuthenticator", "google_group_whitelist"): "allowed_google_groups",
    ("GlobusOAuthenticator", "identity_provider_whitelist"): "allowed_identity_providers",
}
# Files of the machine that the hub ran on.
HOST_FILES = ("logo_file", "template_paths", "extra_log_file", "data_files_path")
# Classes of JupyterHub's that are none of those with rulings.
ELSEWHERE = ("Application", "CryptKeeper", "MLHub")
NO_CLASS = (
    "no class of the image has this name. Where its package is missing, add it in an image of your"
    " own (docs/howto/packages.md); else remove the line."
)
ACCOUNTS_OF_A_HOST = (
    "the hub's container has none of the host's accounts. Remove it; people sign up with accounts"
    " of the hub's own, and an administrator authorizes them (docs/howto/people.md)."
)
TLS = "mount certificate and key as /resources/ssl/cert.crt and cert.key (docs/howto/https.md)."


@dataclass(frozen=True)
class Verdict:
    """What becomes of a trait: kept, under what name, or the reason why not.

    ``note`` is what is to be known beside what is kept; ``moved`` says which variables say it now.
    """

    section: str
    trait: str
    reason: str = ""
    note: str = ""
    moved: dict[str, str] = field(default_factory=dict)

    @property
    def is_kept(self) -> bool:
        """Whether the line stays in the user config."""
        return not self.reason and not self.moved


def judge(mode: str, section: str, trait: str, value: Any) -> Verdict:
    """Judge one trait, with its value or ``UNKNOWN``."""
    if trait == "spawner_class":
        return _judge_spawner_class(section, trait, value)
    if (found := judge_foreign_spawner(find_kind(mode), section, trait)) is not None:
        section, trait, reason = found
        if reason:
            return Verdict(section, trait, reason)
    if section in ("LocalAuthenticator", "PAMAuthenticator"):
        return Verdict(section, trait, ACCOUNTS_OF_A_HOST)
    if section == "FirstUseAuthenticator":
        return Verdict(section, trait, "accounts of the hub's own have c.NativeAuthenticator.")
    section = section.removeprefix("Local") if section.endswith("OAuthenticator") else section
    trait = RENAMED.get((section, trait), trait)
    trait = _rename_of_pods(trait) if section == "KubeSpawner" else trait
    if (said := _judge_here(section, trait, value)) is not None:
        return said
    rulings = find_rulings(mode, section)
    if rulings is not None and trait not in rulings:
        return Verdict(section, trait, _tell_unknown(section, trait, rulings))
    ruling = (rulings or {}).get(trait)
    if reason := refuse(ruling, section, trait, value):
        return Verdict(section, trait, reason)
    return Verdict(section, trait, note=_find_note(mode, section, trait, value))


def _rename_of_pods(trait: str) -> str:
    """Return the name of today of a trait that KubeSpawner had before its version 1."""
    if trait == "singleuser_image_spec":
        return "image"
    return trait.removeprefix("singleuser_").replace("user_storage_", "storage_")


def find_rulings(mode: str, section: str) -> Rulings | None:
    """Find the rulings that hold for a section; None for one of a class that has none."""
    kind = find_kind(mode)
    spawner = kind.upstream.rpartition(".")[2]
    tables = {
        "JupyterHub": JUPYTERHUB,
        "Proxy": PROXY,
        "ConfigurableHTTPProxy": PROXY,
        "Authenticator": AUTHENTICATOR,
        "NativeAuthenticator": NATIVE,
        **dict.fromkeys(("Spawner", spawner, kind.spawner_name), kind.rulings()),
    }
    return tables.get(section)


def refuse(ruling: Ruling | None, section: str, trait: str, value: Any) -> str:
    """Return why a line cannot stay, "" where it can."""
    if ruling is None:
        return ""
    if ruling.outcome is Ruled.WITHOUT_EFFECT:
        return f"it has no effect here: {ruling.sentence}"
    if ruling.is_compared:
        return f"the deployment decides that. {ruling.sentence}"
    if value is UNKNOWN:
        return ruling.sentence if ruling.outcome is Ruled.REFUSED else ""
    try:
        check_value(ruling, section, trait, value, show(trait, value))
    except RefusedLineError as error:
        return error.reason
    return ""


def _judge_here(section: str, trait: str, value: Any) -> Verdict | None:
    """Judge what no longer is a line of the file, but something else of the deployment."""
    if section != "JupyterHub":
        return None
    if trait == "authenticator_class":
        return _judge_authenticator(section, trait, value)
    if trait == "proxy_class":
        reason = (
            "nginx is the proxy here, and looks up the routes by itself. Remove it; for a proxy of"
            " your own: MLHUB_OTHER_PROXY (docs/howto/configure.md)."
        )
        return Verdict(section, trait, reason)
    if trait in ("ssl_key", "ssl_cert"):
        return Verdict(section, trait, moved={"SSL_ENABLED": "true"}, note=f"Then {TLS}")
    if trait == "proxy_auth_token" and isinstance(value, str):
        return Verdict(section, trait, moved={"CONFIGPROXY_AUTH_TOKEN": value})
    if trait in ("base_url", "bind_url") and isinstance(value, str):
        return _judge_address(section, trait, value)
    if trait == "cookie_secret_file":
        return Verdict(section, trait, "the hub keeps its cookie secret under /data by itself.")
    if trait == "db_url" and (
        not isinstance(value, str) or "sqlite" in value or "://" not in value
    ):
        return None if value is UNKNOWN else Verdict(section, trait, DATABASE)
    return None


def _judge_address(section: str, trait: str, value: str) -> Verdict:
    path = urlsplit(value).path if trait == "bind_url" else value
    if path.strip("/"):
        return Verdict(section, trait, moved={"MLHUB_BASE_URL": "/" + path.strip("/")})
    return Verdict(
        section, trait, "nginx has the one public port 8080: publish another one of the host."
    )


def _judge_spawner_class(section: str, trait: str, value: Any) -> Verdict:
    name = value if isinstance(value, str) else ""
    if value is UNKNOWN:
        note = (
            "it is kept, and its workspaces go without what this product adds, which the hub's log"
            " names. Derive the class from mlhubspawner.MLHubDockerSpawner or"
            " MLHubKubernetesSpawner, or remove the line."
        )
        return Verdict(section, trait, note=note)
    reason = (
        f"{name}: workspaces are containers of this product's own spawner, which has its traits."
    )
    if not any(known in name.lower() for known in ("docker", "kube")):
        reason = (
            f"{name}: workspaces are containers, not processes of the hub's machine. Their files"
            " are in volumes; mount people's homes by c.DockerSpawner.volumes, such as"
            " {'/home/{username}': '/workspace/home'}."
        )
    return Verdict(section, trait, reason)


def _judge_authenticator(section: str, trait: str, value: Any) -> Verdict | None:
    name = value if isinstance(value, str) else ""
    last = name.rpartition(".")[2]
    if last.lower() in ("pam", "pamauthenticator", "default", "localauthenticator"):
        return Verdict(section, trait, f"{name}: {ACCOUNTS_OF_A_HOST}")
    if "firstuse" in last.lower():
        return Verdict(
            section,
            trait,
            f"{name}: its passwords cannot be taken over, for nobody knows who chose them. People"
            " sign up with accounts of the hub's own, and an administrator authorizes them.",
        )
    if name and not find_authenticator(name):
        note = (
            f"{name} is not in the image. Make an image of your own with its package: mlhub-pip"
            " (docs/howto/packages.md)."
        )
        return Verdict(section, trait, note=note)
    return None


def find_authenticator(name: str) -> type | None:
    """Find the class that a name means: an entry point's, a path's, or a class's own."""
    known = _list_authenticators()
    # Those with "Local" make accounts on the hub's machine, which is a container here.
    last = name.rpartition(".")[2].removeprefix("Local").removeprefix("local-")
    return known.get(last) or known.get(last.lower())


def _tell_unknown(section: str, trait: str, names: Any) -> str:
    near = difflib.get_close_matches(trait, sorted(names), n=1)
    cure = f"Did you mean c.{section}.{near[0]}?" if near else "Remove it."
    return f"no class of this hub has such a trait. {cure}"


def _find_note(mode: str, section: str, trait: str, value: Any) -> str:
    if trait in HOST_FILES and section == "JupyterHub":
        return "it names files of the machine: mount them into the hub's container."
    if trait == "network_name":
        return "the hub's container has to be in that network, too (docs/howto/configure.md)."
    if find_rulings(mode, section) is not None:
        return ""
    cls = _list_authenticators().get(section)
    if cls is None:
        known = {*ELSEWHERE, *(kind.spawner_name for kind in list_ours())}
        return "" if section in known else NO_CLASS
    traits = cls.class_trait_names(config=True)  # type: ignore[attr-defined]
    return "" if trait in traits else _tell_unknown(section, trait, traits)


@cache
def _list_authenticators() -> dict[str, type]:
    """List the classes of the image, by their own names and those of entry points."""
    found: dict[str, type] = {}
    for name, cls in _load_authenticators():
        bases = {base.__name__: cls for base in cls.__mro__ if base.__name__ not in found}
        found |= {**bases, name.lower(): cls, cls.__name__: cls}
    return found


def _load_authenticators() -> Iterator[tuple[str, type]]:
    for entry in importlib.metadata.entry_points(group="jupyterhub.authenticators"):
        try:
            yield entry.name, entry.load()
        except ImportError:
            continue
