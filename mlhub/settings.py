"""The environment, read once: every documented variable as one typed, frozen field.

Promise: this module is the only reader of ``os.environ`` in the product.
``mlhub.boot`` builds the settings and hands them to the other processes as a file.
"""

from __future__ import annotations

import ipaddress
import os
import re
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_serializer, model_validator

from mlhub import formats
from mlhub.errors import SettingsError

DNS_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?\Z")


class Settings(BaseModel):
    """Hold the environment of one container, checked.

    Raises ``SettingsError`` through ``Settings.from_environment``; a field's description is
    the text of the reference page.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    hub_name: str = Field(
        "mlhub",
        description="Name of this hub: prefix or suffix of everything it creates, and the DNS name under which workspaces reach it. A DNS label of 1 to 5 characters.",
    )
    execution_mode: Literal["local", "k8s"] = Field(
        "local", description="`local` starts workspaces on a Docker host, `k8s` in a Kubernetes cluster."
    )
    ssl_enabled: bool = Field(
        False,
        description="Serve HTTPS (and SSH) on the public port; plain HTTP is redirected. Without a certificate of your own one is generated once and kept under the data directory.",
    )
    start_nginx: bool = Field(True, description="Start nginx, the one public port. Without it CHP listens on 8000 and sshd on 22.")
    start_jhub: bool = Field(True, description="Start the hub.")
    start_chp: bool | None = Field(
        None,
        description="Start the proxy (CHP) in a container without a hub. On Docker it always runs beside the hub; on Kubernetes never in the hub's container.",
    )
    start_ssh: bool = Field(True, description="Start sshd, the SSH door to the workspaces.")
    additional_args: formats.Words = Field("", description="Further arguments for CHP, for example `--ip=0.0.0.0 --api-ip=0.0.0.0`.")
    configproxy_auth_token: SecretStr | None = Field(
        None, description="Token between hub and proxy. Generated once and kept under the data directory when both run in one container."
    )
    jpy_cookie_secret: formats.HexSecret | None = Field(
        None,
        description="Secret with which the hub signs cookies, 64 hexadecimal digits. Generated once and kept under the data directory when unset.",
    )
    dynamic_whitelist_enabled: bool = Field(
        False,
        description="Let only the users named in `/resources/users/dynamic_whitelist.txt` (one per line, read again when it changes) log in, whatever the authenticator. If the file does not exist, the authenticator's own rules apply.",
    )
    cleanup_interval_seconds: int = Field(
        3600, ge=-1, description="Seconds between two passes of the cleanup service; `-1` switches the timer off."
    )
    is_cleanup_service_enabled: bool = Field(True, description="Run the cleanup service beside the hub.")
    default_workspace_port: int = Field(
        8080,
        ge=1,
        le=65535,
        description="Port on which workspaces listen when neither the image catalogue nor the user config says otherwise.",
    )
    data_volume_container: Path = Field(Path("/data"), description="Directory inside the container that holds everything worth keeping.")

    sshd_target: formats.HostPort = Field(
        "",
        description="`host:port` of the sshd behind the public port; set by the chart, where sshd runs in a pod of its own. A name is looked up when somebody connects.",
    )
    sshd_target_proxy_protocol: bool = Field(
        False,
        description="Tell `SSHD_TARGET` each client's own address by the PROXY protocol, which the bastion of the chart understands on port 2223.",
    )
    ssh_permit_target_host: str = Field("*", description="Extra filter on the workspace names that SSH may reach (a shell pattern).")
    ssh_permit_target_port: str = Field("*", description="Extra filter on the port that SSH may reach, or `*`.")
    ssh_target_labels: str = Field("", description="Labels of the containers that bring their own keys, `name=value`, comma separated.")
    ssh_target_publickey_api_port: int = Field(
        8080, ge=1, le=65535, description="Port of the `/publickey` endpoint of workspaces that bring their own keys."
    )
    ssh_target_key_path: str = Field("~/.ssh/id_ed25519.pub", description="Public key file inside workspaces that bring their own keys.")
    manual_auth_file: str = Field("false", description="`true`, or the path of a hand-kept key file, to let those keys in as well.")

    docker_host: formats.EngineAddress = Field("", description="Address of the container engine; `unix:///var/run/docker.sock` when unset.")
    docker_tls_verify: str = Field("", description="As for the docker command.")
    docker_cert_path: str = Field("", description="As for the docker command.")

    policy_file: Path = Field(
        Path("/resources/policy.yaml"),
        description="The site's policy: who may ask for what. Read again when it changes; without the file the defaults hold.",
    )

    mlhub_hostnames: formats.Names = Field(
        (),
        description="Names and addresses under which people reach this hub, comma separated. They go into the generated certificate and into the printed address. The first one also ends the names by which SSH reaches workspaces (`HUB_NAME` otherwise).",
    )
    mlhub_port: int = Field(
        8080,
        ge=1,
        le=65535,
        description="Port under which the public port is published on the host. It only shows in printed addresses; `./scripts/up` publishes it.",
    )
    mlhub_admin_password: SecretStr | None = Field(
        None,
        description="Create the user `admin` with this password at first boot instead of printing a one-time setup link. Also as `MLHUB_ADMIN_PASSWORD_FILE`.",
    )
    mlhub_trusted_proxies: formats.Networks = Field(
        (),
        description="Addresses (CIDR, comma separated) of proxies in front of the public port whose `X-Forwarded-*` headers are believed.",
    )
    mlhub_workspace_image: str = Field("mltooling/ml-workspace:latest", description="Image of workspaces when nobody chooses another.")
    mlhub_image_pull_interval_seconds: int = Field(
        0,
        ge=0,
        description="Seconds between two pulls of all images that the site offers, beginning when the hub starts; `0` switches that off. Workspaces keep the image they have until their owner updates them. Docker only.",
    )
    mlhub_network_pool: formats.PrivateNetwork = Field(
        "10.64.0.0/12", description="Private address range from which each user's network takes a subnet."
    )
    mlhub_network_prefix: int = Field(27, ge=16, le=29, description="Size of each user's subnet, as a prefix length.")
    mlhub_host_guard: bool = Field(
        True,
        description="Keep workspaces away from the Docker host's own ports and from link-local (cloud metadata) addresses with a small nftables table of our own on the host.",
    )
    mlhub_base_url: formats.UrlPath = Field("/", description="Path under which the hub is served. The chart's `mlhub.baseUrl`.")
    mlhub_debug: bool = Field(False, description="Log more. The chart's `mlhub.debug`.")
    mlhub_stop_seconds: int = Field(10, ge=1, le=600, description="Seconds a workspace gets to end by itself when it is stopped.")

    mlhub_drain_seconds: int = Field(
        0,
        ge=0,
        le=86400,
        description="Seconds that open connections (WebSockets, SSH, downloads) get to end by themselves when this container is stopped; new ones are no longer accepted. Whoever stops it has to wait for as long (`docker stop --time`). Set by the chart.",
    )

    mlhub_bastion_token: SecretStr | None = Field(
        None,
        description="Token by which hub and bastion know each other where they run in containers of their own: one with `START_SSH=false`, the other with `START_JHUB=false`, both with `START_NGINX=false` and the same `HUB_NAME`. The bastion asks the hub on port 8082; it serves SSH on 2222, and on 2223 behind the PROXY protocol. Set by the chart.",
    )
    mlhub_ssh_keys_dir: Path | None = Field(
        None,
        description="Directory with the files `ca` (the SSH certificate authority) and `host_key` (the bastion's), ed25519, as OpenSSH or PEM writes them. They take the place of those that are generated once and kept under the data directory. A bastion in a container of its own reads `host_key` alone, and without it makes itself a key at each start; the hub's authority signs it either way. Set by the chart.",
    )
    mlhub_proxy_api_url: formats.ServerUrl = Field(
        "", description="URL of the proxy's API where hub and proxy run in containers of their own. Set by the chart."
    )
    mlhub_chart_values: Path | None = Field(None, description="File with what the hub reads of the chart's values. Set by the chart.")

    mlhub_resources_dir: Path = Field(Path("/resources"), description="Directory of configuration and templates inside the image.")
    mlhub_run_dir: Path = Field(Path("/run/mlhub"), description="Directory for sockets and rendered files; emptied at each boot.")

    @model_validator(mode="after")
    def _fit_together(self) -> Settings:
        if not DNS_LABEL.match(self.hub_name) or (self.execution_mode == "local" and len(self.hub_name) > 5) or len(self.hub_name) > 40:
            limit = "1-5 characters" if self.execution_mode == "local" else "1-40 characters"
            raise ValueError(f"HUB_NAME={self.hub_name!r} is not a DNS label (a-z, 0-9, '-'; {limit}). Pass e.g. --env HUB_NAME=mlhub.")
        pool = ipaddress.ip_network(self.mlhub_network_pool)
        if self.mlhub_network_prefix < pool.prefixlen:
            raise ValueError(
                f"MLHUB_NETWORK_PREFIX={self.mlhub_network_prefix} is larger than the whole MLHUB_NETWORK_POOL={self.mlhub_network_pool}. Choose a prefix from {pool.prefixlen} to 29."
            )
        self._check_roles()
        return self

    def _check_roles(self) -> None:
        taken = {8081: "the hub's"} | ({8080: "nginx's", 2222: "sshd's"} if self.start_nginx else {22: "sshd's"})
        for port in (self.chp_public_port, self.chp_api_port):
            if port in taken:
                raise ValueError(
                    f"ADDITIONAL_ARGS={self.additional_args!r} puts the proxy on port {port}, which is {taken[port]}. Choose another port."
                )
        if self.chp_public_port == self.chp_api_port:
            raise ValueError(
                f"ADDITIONAL_ARGS={self.additional_args!r} puts both sides of the proxy, the public one and its API, on port {self.chp_api_port}. Choose another port for one of them."
            )
        if not (self.start_nginx or self.start_jhub or self.start_chp or self.start_ssh):
            raise ValueError("START_NGINX, START_JHUB, START_CHP and START_SSH are all off: nothing would run. Leave at least one on.")
        if self.mlhub_bastion_token and (self.start_nginx or self.start_jhub == self.start_ssh):
            raise ValueError(
                "MLHUB_BASTION_TOKEN is for a hub and a bastion in containers of their own. Set START_NGINX=false, and one of START_JHUB=false and START_SSH=false."
            )
        if self.mlhub_bastion_token and not re.fullmatch(r"[!-~]{16,}", self.mlhub_bastion_token.get_secret_value()):
            raise ValueError("MLHUB_BASTION_TOKEN is no token: it wants 16 letters and digits or more. Make one with openssl rand -hex 32.")
        if self.mlhub_proxy_api_url and self.start_jhub and self.runs_chp:
            raise ValueError(
                f"MLHUB_PROXY_API_URL={self.mlhub_proxy_api_url!r} names a proxy elsewhere, but beside this hub runs its own. Unset it, or set EXECUTION_MODE=k8s."
            )
        if self.mlhub_proxy_api_url and self.start_jhub and not self.configproxy_auth_token:
            raise ValueError(
                f"MLHUB_PROXY_API_URL={self.mlhub_proxy_api_url!r} needs the token that the proxy there knows. Set CONFIGPROXY_AUTH_TOKEN to the same value for both."
            )
        if self.mlhub_image_pull_interval_seconds and self.execution_mode == "k8s":
            raise ValueError(
                f"MLHUB_IMAGE_PULL_INTERVAL_SECONDS={self.mlhub_image_pull_interval_seconds} is for Docker: on Kubernetes nodes pull images. Unset it; singleuser.image.pullPolicy=Always has them look for a newer image at each start."
            )

    @field_serializer("mlhub_admin_password", "configproxy_auth_token", "jpy_cookie_secret", "mlhub_bastion_token", when_used="json")
    def _reveal(self, value: SecretStr | None) -> str | None:
        # The file in the run directory is readable by the hub alone; the hub needs the value.
        return value.get_secret_value() if value else None

    @property
    def runs_chp(self) -> bool:
        """Tell whether CHP runs in this container."""
        if self.execution_mode == "local" and self.start_jhub:
            return True  # beside the hub, whatever START_CHP says: its documented default is "false"
        return bool(self.start_chp) and not self.start_jhub

    @property
    def has_bastion(self) -> bool:
        """Tell whether the hub of this container has a bastion: beside it, or in a container of its own."""
        return self.start_ssh or bool(self.mlhub_bastion_token)

    @property
    def is_bastion_alone(self) -> bool:
        """Tell whether this container is a bastion whose hub runs in another one."""
        return self.start_ssh and bool(self.mlhub_bastion_token)

    @property
    def runs_nginx(self) -> bool:
        """Tell whether nginx runs in this container: as the public port of all, or in front of a bastion of its own."""
        return self.start_nginx or self.is_bastion_alone

    @property
    def has_data(self) -> bool:
        """Tell whether this container keeps anything; a bastion whose hub runs in another one does not."""
        return not self.is_bastion_alone

    @property
    def is_self_contained(self) -> bool:
        """Tell whether hub, proxy and nginx share this container, so that sockets join them."""
        return self.start_nginx and self.start_jhub and self.runs_chp and not self.chp_has_addresses

    @property
    def chp_has_addresses(self) -> bool:
        """Tell whether ADDITIONAL_ARGS names addresses; CHP refuses those together with sockets."""
        return bool(re.search(r"--(ip|api-ip|port|api-port)\b", self.additional_args))

    @property
    def chp_public_port(self) -> int:
        """Return the TCP port of CHP's public side, where it has one."""
        return self._find_chp_port("port", 8000)

    @property
    def chp_api_port(self) -> int:
        """Return the TCP port of CHP's API, where it has one."""
        return self._find_chp_port("api-port", 8001)

    def _find_chp_port(self, option: str, default: int) -> int:
        match = re.search(rf"(?<!\S)--{option}[= ]\s*(\d+)(?!\S)", self.additional_args)
        return int(match[1]) if match else default

    @property
    def public_address(self) -> str:
        """Return the address that people open, as far as it is known here; it ends with a slash."""
        scheme = "https" if self.ssl_enabled else "http"
        host = next(iter(self.mlhub_hostnames), "localhost")
        port = "" if (scheme, self.mlhub_port) in (("http", 80), ("https", 443)) else f":{self.mlhub_port}"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}{port}{self.mlhub_base_url}"

    @classmethod
    def from_environment(cls, environment: dict[str, str] | None = None) -> Settings:
        """Read the environment (this process's own by default).

        Raises ``SettingsError`` with one sentence for each wrong variable.
        """
        environment = dict(os.environ if environment is None else environment)
        values: dict[str, Any] = {}
        for name in cls.model_fields:
            variable = name.upper()
            value, file = environment.get(variable, ""), environment.get(f"{variable}_FILE", "")
            if value and file and variable in SECRET_VARIABLES:
                raise SettingsError(f"{variable} and {variable}_FILE are both set. Keep one of them.")
            if file and variable in SECRET_VARIABLES:
                try:
                    value = Path(file).read_text().rstrip("\n")
                except (OSError, ValueError) as error:
                    raise SettingsError(
                        f"{variable}_FILE={file!r} can not be read ({error}). Mount the file or unset the variable."
                    ) from error
            # In a namespace with a Service `mlhub`, Kubernetes sets MLHUB_PORT to that Service's address.
            if value.strip() and not (variable == "MLHUB_PORT" and value.startswith("tcp://")):
                values[name] = value
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise SettingsError("\n".join(_sentence(detail) for detail in error.errors())) from None

    @classmethod
    def load(cls, file: Path | None = None) -> Settings:
        """Read the settings that boot wrote into the run directory."""
        file = file or Path(os.environ.get("MLHUB_RUN_DIR", "/run/mlhub")) / "settings.json"
        try:
            return cls.model_validate_json(file.read_bytes())
        except OSError as error:
            raise SettingsError(f"{file} can not be read ({error}). It is written by `python -m mlhub.boot`.") from error


SECRET_VARIABLES = frozenset({"MLHUB_ADMIN_PASSWORD", "CONFIGPROXY_AUTH_TOKEN", "JPY_COOKIE_SECRET", "MLHUB_BASTION_TOKEN"})
KNOWN_VARIABLES = frozenset(name.upper() for name in Settings.model_fields) | {f"{name}_FILE" for name in SECRET_VARIABLES}


def read_environment() -> dict[str, str]:
    """Return a copy of this process's environment, for programs that must inherit it."""
    return dict(os.environ)


def _sentence(detail: Any) -> str:
    message = detail["msg"].removeprefix("Value error, ")
    if not detail["loc"]:
        return str(message)
    variable = str(detail["loc"][0]).upper()
    shown = "" if variable in SECRET_VARIABLES else f"={str(detail['input'])!r}"
    kinds = {
        "bool_parsing": "is neither true nor false. Write true or false.",
        "int_parsing": "is not a whole number.",
        "literal_error": f"is not one of {detail.get('ctx', {}).get('expected', '')}.",
    }
    if detail["type"] not in kinds and detail["type"] != "value_error":
        message = message[0].lower() + message[1:] + "."
    return f"{variable}{shown} {kinds.get(detail['type'], message)}"
