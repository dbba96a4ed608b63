"""The environment, read once: every documented variable as one typed, frozen field.

The fields stand in ``mlhub/variables``, by topic; here is how they are read and fit together.

Invariants: this module is the only reader of ``os.environ`` in the product.
``mlhub.boot`` builds the settings and hands them to the other processes as a file.
"""

from __future__ import annotations

import ipaddress
import os
import re
from pathlib import Path
from typing import Any

from pydantic import (
    ConfigDict,
    SecretStr,
    ValidationError,
    field_serializer,
    model_validator,
)

from mlhub.errors import SettingsError
from mlhub.variables.files import Files
from mlhub.variables.front import Front
from mlhub.variables.idle import Idle
from mlhub.variables.people import People
from mlhub.variables.roles import Roles
from mlhub.variables.ssh import Ssh
from mlhub.variables.workspaces import Workspaces

# The hub's REST API, for workspaces and whoever has a token; and the whole hub, for its own proxy,
# which is believed whose request it is.
HUB_PORT, HUB_PROXY_PORT = 8081, 8083
DNS_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?\Z")


class Settings(Files, Ssh, Idle, Workspaces, People, Front, Roles):
    """Hold the environment of one container, checked but for what a backend has to say
    (``mlhub.backends.registry.read_settings``).

    Raises ``SettingsError`` through ``Settings.from_environment``; a field's description is
    the text of the reference page.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    @model_validator(mode="after")
    def _fit_together(self) -> Settings:
        pool = ipaddress.ip_network(self.mlhub_network_pool)
        if self.mlhub_network_prefix < pool.prefixlen:
            raise ValueError(
                f"MLHUB_NETWORK_PREFIX={self.mlhub_network_prefix} is larger than the whole "
                f"MLHUB_NETWORK_POOL={self.mlhub_network_pool}. Choose a prefix from "
                f"{pool.prefixlen} to 29."
            )
        self._check_proxy_ports()
        self._check_roles()
        self._check_router()
        return self

    def _check_proxy_ports(self) -> None:
        taken = {HUB_PORT: "the hub's", HUB_PROXY_PORT: "the hub's"} | (
            {8080: "nginx's", 2222: "sshd's"} if self.start_nginx else {22: "sshd's"}
        )
        for port in (self.chp_public_port, self.chp_api_port):
            if port in taken:
                raise ValueError(
                    f"ADDITIONAL_ARGS={self.additional_args!r} puts the proxy on port {port}, "
                    f"which is {taken[port]}. Choose another port."
                )
        if self.chp_public_port == self.chp_api_port:
            raise ValueError(
                f"ADDITIONAL_ARGS={self.additional_args!r} puts both sides of the proxy, the "
                f"public one and its API, on port {self.chp_api_port}. Choose another port for one "
                "of them."
            )

    def _check_router(self) -> None:
        others = {
            "START_CHP=true starts CHP": self.start_chp,
            f"ADDITIONAL_ARGS={self.additional_args!r} is for CHP": self.additional_args,
            "MLHUB_OTHER_PROXY=true brings another proxy": self.mlhub_other_proxy,
            "START_NGINX=false leaves nginx out": not self.start_nginx,
        }
        for other, is_meant in others.items():
            if self.mlhub_router and is_meant:
                raise ValueError(
                    f"MLHUB_ROUTER=true lets nginx look up routes itself, but {other}. Unset one "
                    "of the two."
                )

    def _check_roles(self) -> None:
        if not (self.start_nginx or self.start_jhub or self.start_chp or self.start_ssh):
            raise ValueError(
                "START_NGINX, START_JHUB, START_CHP and START_SSH are all off: nothing would run. "
                "Leave at least one on."
            )
        if self.mlhub_bastion_token and (self.start_nginx or self.start_jhub == self.start_ssh):
            raise ValueError(
                "MLHUB_BASTION_TOKEN is for a hub and a bastion in containers of their own. Set "
                "START_NGINX=false, and one of START_JHUB=false and START_SSH=false."
            )
        if self.mlhub_bastion_token and not re.fullmatch(
            r"[!-~]{16,}", self.mlhub_bastion_token.get_secret_value()
        ):
            raise ValueError(
                "MLHUB_BASTION_TOKEN is no token: it wants 16 letters and digits or more. Make one "
                "with openssl rand -hex 32."
            )

    @field_serializer(
        "mlhub_admin_password",
        "configproxy_auth_token",
        "jpy_cookie_secret",
        "mlhub_bastion_token",
        when_used="json",
    )
    def _reveal(self, value: SecretStr | None) -> str | None:
        # The file in the run directory is readable by the hub alone; the hub needs the value.
        return value.get_secret_value() if value else None

    @property
    def runs_proxy(self) -> bool:
        """Return True if the hub's proxy is in this container: beside a hub unless its backend says
        otherwise (``mlhub.backends.registry.read_settings``), without one where a variable says so.
        """
        if not self.start_jhub:
            return bool(self.start_chp or self.mlhub_router)
        return self.start_chp is not False and not self.mlhub_other_proxy

    @property
    def runs_router(self) -> bool:
        """Return True if that proxy is nginx itself."""
        return self.runs_proxy and not self.runs_chp

    @property
    def runs_chp(self) -> bool:
        """Return True if that proxy is CHP: whoever says something to it gets it, and who leaves
        nginx out.
        """
        is_meant = self.start_chp or self.additional_args or not self.start_nginx
        return self.runs_proxy and bool(is_meant)

    @property
    def has_bastion(self) -> bool:
        """Return True if the hub of this container has a bastion: beside it, or in a container of
        its own.
        """
        return self.start_ssh or bool(self.mlhub_bastion_token)

    @property
    def is_bastion_alone(self) -> bool:
        """Return True if this container is a bastion whose hub runs in another one."""
        return self.start_ssh and bool(self.mlhub_bastion_token)

    @property
    def runs_nginx(self) -> bool:
        """Return True if nginx runs in this container: as the public port of all, or in front of a
        bastion of its own.
        """
        return self.start_nginx or self.is_bastion_alone

    @property
    def has_data(self) -> bool:
        """Return True if this container keeps anything; a bastion whose hub runs in another one
        does not.
        """
        return not self.is_bastion_alone

    @property
    def is_self_contained(self) -> bool:
        """Return True if hub, proxy and nginx share this container, so that sockets join them."""
        is_here = self.start_nginx and self.start_jhub and self.runs_proxy
        return is_here and not self.chp_has_addresses

    @property
    def chp_has_addresses(self) -> bool:
        """Return True if ADDITIONAL_ARGS names addresses.

        CHP refuses those together with sockets.
        """
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
        if self.mlhub_subdomain_host:
            return f"{self.mlhub_subdomain_host}{self.mlhub_base_url}"
        scheme = "https" if self.ssl_enabled else "http"
        host = next(iter(self.host_names), "localhost")
        port = (
            ""
            if (scheme, self.mlhub_port) in (("http", 80), ("https", 443))
            else f":{self.mlhub_port}"
        )
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
                raise SettingsError(
                    f"{variable} and {variable}_FILE are both set. Keep one of them."
                )
            if file and variable in SECRET_VARIABLES:
                try:
                    value = Path(file).read_text().rstrip("\n")
                except (OSError, ValueError) as error:
                    raise SettingsError(
                        f"{variable}_FILE={file!r} cannot be read ({error}). Mount the file or "
                        "unset the variable."
                    ) from error
            # In a namespace with a Service `mlhub`, Kubernetes sets MLHUB_PORT to that Service's
            # address.
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
            raise SettingsError(
                f"{file} cannot be read ({error}). It is written by `python -m mlhub.boot`."
            ) from error


SECRET_VARIABLES = frozenset(
    {
        "MLHUB_ADMIN_PASSWORD",
        "CONFIGPROXY_AUTH_TOKEN",
        "JPY_COOKIE_SECRET",
        "MLHUB_BASTION_TOKEN",
        "SSL_KEY_PASSPHRASE",
    }
)
KNOWN_VARIABLES = frozenset(name.upper() for name in Settings.model_fields) | {
    f"{name}_FILE" for name in SECRET_VARIABLES
}


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
    }
    if detail["type"] not in kinds and detail["type"] != "value_error":
        message = message[0].lower() + message[1:] + "."
    return f"{variable}{shown} {kinds.get(detail['type'], message)}"
