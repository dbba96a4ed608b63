"""Templates and settings in, whole files out. Nothing is ever edited in place."""

from __future__ import annotations

import ipaddress
import resource
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from mlhub.boot.resolver import Resolver
from mlhub.settings import Settings
from mlhub.texts import PageTexts, list_languages

CONNECTIONS_MAX = 16384


@dataclass(frozen=True)
class Addresses:
    """Say where each listener is, as nginx writes addresses (``unix:/path`` or ``host:port``)."""

    chp_public: str
    chp_api: str
    sshd: str
    sshd_port: int

    @property
    def chp_public_socket(self) -> Path | None:
        """Return CHP's public socket file, if it listens on one."""
        return (
            Path(self.chp_public.removeprefix("unix:"))
            if self.chp_public.startswith("unix:")
            else None
        )

    @property
    def chp_api_socket(self) -> Path | None:
        """Return CHP's API socket file, if it listens on one."""
        return (
            Path(self.chp_api.removeprefix("unix:")) if self.chp_api.startswith("unix:") else None
        )


def make_addresses(settings: Settings) -> Addresses:
    """Return where everything listens: sockets where all share the container, else TCP."""
    # nginx in front of a bastion of its own takes the documented port.
    sshd_port = 2220 if settings.is_bastion_alone else 2222 if settings.start_nginx else 22
    sshd = (
        settings.sshd_target
        if settings.sshd_target and not settings.is_bastion_alone
        else f"127.0.0.1:{sshd_port}"
    )
    if settings.is_self_contained:
        run = settings.mlhub_run_dir
        return Addresses(
            f"unix:{run}/chp/public.sock", f"unix:{run}/chp-api/api.sock", sshd, sshd_port
        )
    if settings.runs_router:
        return Addresses("", f"{settings.chp_api_port}", sshd, sshd_port)
    return Addresses(
        f"127.0.0.1:{settings.chp_public_port}",
        f"127.0.0.1:{settings.chp_api_port}",
        sshd,
        sshd_port,
    )


class Renderer:
    """Render the product's templates with one context."""

    def __init__(
        self,
        settings: Settings,
        addresses: Addresses,
        *,
        own_certificate: bool = False,
        resolver: Resolver | None = None,
    ) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(
                [settings.mlhub_resources_dir / "templates", settings.mlhub_resources_dir / "html"]
            ),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
            autoescape=select_autoescape(["html"]),
            extensions=[PageTexts],
        )
        resolver = resolver or Resolver()
        host, _, port = addresses.sshd.rpartition(":")
        self._context = {
            "settings": settings,
            "addresses": addresses,
            "run": settings.mlhub_run_dir,
            "resources": settings.mlhub_resources_dir,
            "data": settings.data_volume_container,
            "worker_connections": make_worker_connections(),
            "sshd_is_local": host == "127.0.0.1",
            # A name may mean nothing yet, or another address later: nginx looks it up when somebody
            # connects.
            "sshd_name": "" if _is_address(host) else f"{resolver.complete(host)}:{port}",
            "name_servers": resolver.servers,
            "languages": list_languages(settings.mlhub_resources_dir / "texts"),
            "own_certificate": own_certificate,
        }

    def render(self, template: str, **extra: object) -> str:
        """Return the rendered text; an undefined name is an error."""
        return self._environment.get_template(template).render(**self._context, **extra)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def make_worker_connections() -> int:
    """Return nginx's connections per worker: a client costs two descriptors, some stay free for
    files.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = hard if hard != resource.RLIM_INFINITY else 65536
    return max(512, min(CONNECTIONS_MAX, max(soft, limit) - 256))
