"""Under which addresses people reach this hub."""

from __future__ import annotations

from urllib.parse import urlsplit

from pydantic import BaseModel, Field, SecretStr

from mlhub import formats


class Front(BaseModel):
    """Under which addresses people reach this hub."""

    ssl_enabled: bool = Field(
        False,
        description=(
            "Serve HTTPS (and SSH) on the public port; plain HTTP is redirected. Without a "
            "certificate of your own one is generated once and kept under the data directory."
        ),
    )
    ssl_key_passphrase: SecretStr | None = Field(
        None,
        description=(
            "Passphrase of the keys of your own certificates, where they have one. It opens all of "
            "them."
        ),
    )
    mlhub_hostnames: formats.Names = Field(
        (),
        description=(
            "Names and addresses under which people reach this hub, comma separated. They go into "
            "the generated certificate and into the printed address. The first one also ends the "
            "names by which SSH reaches workspaces (where there is none, the host name of "
            "`MLHUB_SUBDOMAIN_HOST`, else `HUB_NAME`)."
        ),
    )
    mlhub_port: int = Field(
        8080,
        ge=1,
        le=65535,
        description=(
            "Port under which the public port is published on the host. It only shows in printed "
            "addresses; `./scripts/up` publishes it."
        ),
    )
    mlhub_public_service: str = Field(
        "",
        description=(
            "Name of the Service of Kubernetes under whose address people reach this hub, where "
            "only the cluster knows that address. Set by the chart."
        ),
    )
    mlhub_base_url: formats.UrlPath = Field(
        "/", description="Path under which the hub is served. The chart's `mlhub.baseUrl`."
    )
    mlhub_subdomain_host: formats.SiteUrl = Field(
        "",
        description=(
            "Give each person's workspaces a host name of their own below the hub's: with "
            "`https://hub.example.org`, ann's are at `https://ann.hub.example.org`. Needs a "
            "wildcard in DNS and in the certificate. In place of `c.JupyterHub.subdomain_host`."
        ),
    )
    mlhub_sign_ins_per_second: int = Field(
        20,
        ge=0,
        le=10_000,
        description=(
            "Requests for the pages to sign in and to sign up that one address (of IPv6: one /64 "
            "network) gets answered in a second, lastingly. Five seconds' worth is answered at "
            "once; more of them wait up to 50 seconds, beyond that they get 429. Each takes a few "
            "milliseconds of the hub's one thread, which a flood would take from everybody. "
            "0: no such limit."
        ),
    )
    mlhub_trusted_proxies: formats.Networks = Field(
        (),
        description=(
            "Addresses (CIDR, comma separated) of proxies in front of the public port whose "
            "`X-Forwarded-*` headers are believed. Of several in a row, name all."
        ),
    )

    @property
    def host_names(self) -> tuple[str, ...]:
        """Return the names and addresses under which people reach the hub itself."""
        names = (*self.mlhub_hostnames, *self.subdomain_names)
        return tuple(dict.fromkeys(name for name in names if not name.startswith("*.")))

    @property
    def subdomain_names(self) -> tuple[str, ...]:
        """Return the hub's host name and the one of all that people have below it, if they do."""
        own = urlsplit(self.mlhub_subdomain_host).hostname
        return (own, f"*.{own}") if own else ()
