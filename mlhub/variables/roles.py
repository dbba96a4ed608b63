"""Which programs run in this container, and how its parts find and know each other."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, Field, SecretStr

from mlhub import formats


class Roles(BaseModel):
    """Which programs run in this container, and how its parts find and know each other."""

    hub_name: str = Field(
        "mlhub",
        description=(
            "Name of this hub: prefix or suffix of everything it creates, and the DNS name under "
            "which workspaces reach it. A DNS label of 1 to 5 characters."
        ),
    )
    execution_mode: str = Field(
        "local",
        description=(
            "`local` starts workspaces on a Docker host, `k8s` in a Kubernetes cluster; others are "
            "those of [backends that you have installed](../howto/own-backend.md)."
        ),
    )
    start_nginx: bool = Field(
        True,
        description=(
            "Start nginx, the one public port, which leads to hub and workspaces. Without it CHP "
            "does that, on 8000, and sshd listens on 22."
        ),
    )
    start_jhub: bool = Field(True, description="Start the hub.")
    start_chp: bool | None = Field(
        None,
        description=(
            "Start configurable-http-proxy (CHP) behind nginx, which then looks up no routes "
            "itself and hands all requests to it. Unset and `false`: it runs beside a hub where "
            "`ADDITIONAL_ARGS` says something to it, or `START_NGINX=false`. On Kubernetes never "
            "in the hub's container."
        ),
    )
    start_ssh: bool = Field(True, description="Start sshd, the SSH bastion of the workspaces.")
    mlhub_router: bool = Field(
        False,
        description=(
            "Let nginx look up routes itself in a container without a hub, too; beside one it does "
            "so anyway. Hubs push their routes to port 8001, by CHP's REST API. `START_CHP=true` "
            "and `ADDITIONAL_ARGS` do not go with it. Set by the chart."
        ),
    )
    additional_args: formats.Words = Field(
        "",
        description=(
            "Further arguments for CHP, for example `--ip=0.0.0.0 --api-ip=0.0.0.0`. Beside a hub "
            "they start it."
        ),
    )
    mlhub_other_proxy: bool = Field(
        False,
        description=(
            "The user config brings another proxy (`c.JupyterHub.proxy_class`) in place of the "
            "container's own: nginx looks up no routes, CHP is not started, and nginx expects the "
            "other one at `127.0.0.1:8000`."
        ),
    )
    mlhub_proxy_api_url: formats.ServerUrl = Field(
        "",
        description=(
            "URL of the proxy's API where hub and proxy run in containers of their own. Set by the "
            "chart."
        ),
    )
    configproxy_auth_token: SecretStr | None = Field(
        None,
        description=(
            "Token between hub and proxy. Generated once and kept under the data directory when "
            "both run in one container."
        ),
    )
    jpy_cookie_secret: formats.HexSecret | None = Field(
        None,
        description=(
            "Secret with which the hub signs cookies and encrypts secret options, 64 hexadecimal "
            "digits. Generated once and kept under the data directory when unset."
        ),
    )
    mlhub_bastion_token: SecretStr | None = Field(
        None,
        description=(
            "Token by which hub and bastion know each other where they run in containers of their "
            "own: one with `START_SSH=false`, the other with `START_JHUB=false`, both with "
            "`START_NGINX=false` and the same `HUB_NAME`. The bastion asks the hub on port 8082; "
            "it serves SSH on 2222, and on 2223 behind the PROXY protocol. Set by the chart."
        ),
    )
    mlhub_chart_values: Path | None = Field(
        None, description="File with what the hub reads of the chart's values. Set by the chart."
    )
    mlhub_drain_seconds: int = Field(
        0,
        ge=0,
        le=86400,
        description=(
            "Seconds that open connections (WebSockets, SSH, downloads) get to end by themselves "
            "when this container is stopped; new ones are no longer accepted. Whoever stops it has "
            "to wait for as long (`docker stop --time`). Set by the chart."
        ),
    )
    mlhub_debug: bool = Field(False, description="Log more. The chart's `mlhub.debug`.")
