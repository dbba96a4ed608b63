"""What the calling environment hands to the hub's container: variables, and files and folders of
this machine.

The product is not imported: its variables are read from the source of its settings, so that any
Python will do.
"""

from __future__ import annotations

import ast
import hashlib
import hmac
import json
import os
import secrets
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.console import CACHE, ROOT, ToolError

SOCKET = "/var/run/docker.sock"
# Read here, and nothing to the hub.
HOST_ONLY = {"MLHUB_CACHE", "MLHUB_USER_CONFIG", "MLHUB_SSL_DIR", "MLHUB_USERS_DIR"}
# What lies where inside the container is decided by this script and by the chart, each in its way.
REFUSED = {"MLHUB_RUN_DIR", "MLHUB_RESOURCES_DIR", "MLHUB_CHART_VALUES"}
OFF = ("false", "0", "no", "off")


@dataclass(frozen=True)
class Given:
    """A variable that names a file or folder of this machine, and how the hub comes to it."""

    variable: str
    place: str
    is_folder: bool = False
    # The hub reads it again when it changes. Only its folder, mounted, shows a file that was
    # replaced by another of its name.
    is_followed: bool = False
    # Files of a folder that are read at the hub's start alone, and files of which only their
    # presence is.
    read_once: tuple[str, ...] = ()
    looked_for: tuple[str, ...] = ()

    def list_read_once(self, path: Path) -> list[Path]:
        """Return the files that the hub reads at its start alone."""
        if self.is_folder:
            return [path / name for name in self.read_once]
        return [] if self.is_followed else [path]


@dataclass(frozen=True)
class Handover:
    """What a container is given; ``variables`` with the values that they have inside."""

    variables: dict[str, str]
    mounts: tuple[str, ...]
    # By path: what the hub reads at its start alone, so that another content asks for another
    # start.
    contents: dict[str, str]


def make_handover(environment: Mapping[str, str]) -> Handover:
    """Return what this environment asks for.

    Raises ``ToolError`` for what the hub could not use, and for files that are not there.
    """
    refuse_other_engines(environment)
    for name in sorted(REFUSED):
        if environment.get(name):
            raise ToolError(
                f"{name}={environment[name]!r} is not for ./scripts/up, which decides itself what"
                " lies where inside. Unset it."
            )
    if environment.get("START_NGINX", "").strip().lower() in OFF:
        raise ToolError(
            f"START_NGINX={environment['START_NGINX']!r} leaves nobody on the port that"
            " ./scripts/up publishes. Unset it, or start the hub by hand with `docker run"
            " --publish 8000:8000 …`."
        )
    variables = {
        name: environment[name] for name in list_variables(environment) if name in environment
    }
    mounts = [f"{environment.get('DOCKER_HOST', '').removeprefix('unix://') or SOCKET}:{SOCKET}"]
    contents: dict[str, str] = {}
    for given in list_given():
        path = find_path(given, environment)
        if path is None:
            continue
        mounts.append(f"{path.parent if given.is_followed else path}:{given.place}:ro")
        if given.variable in variables:
            variables[given.variable] = (
                f"{given.place}/{path.name}" if given.is_followed else given.place
            )
        contents |= read_contents(given, path)
    return Handover(variables, tuple(mounts), contents)


def refuse_other_engines(environment: Mapping[str, str]) -> None:
    """Refuse what the hub's container could not use: an engine that is not a local socket."""
    host = environment.get("DOCKER_HOST", "")
    if host and not host.startswith("unix://"):
        raise ToolError(
            f"DOCKER_HOST={host!r} is not a local socket, and this script can only mount a socket"
            " (unix:///path) into the hub. Unset it, or start the hub by hand with `docker run"
            " --env DOCKER_HOST=…`."
        )
    for variable in ("DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"):
        if environment.get(variable):
            raise ToolError(
                f"{variable}={environment[variable]!r} is for engines on the network, which this"
                " script does not set up. Unset it."
            )


def list_variables(environment: Mapping[str, str]) -> list[str]:
    """Return the variables that are handed over as such: those that the image knows, and all
    MLHUB_* of the environment.
    """
    fields, secret = read_settings()
    ours = {name for name in environment if name.startswith("MLHUB_")}
    engine = {name for name in fields if name.startswith("DOCKER_")}
    return sorted(
        (fields | {f"{name}_FILE" for name in secret} | ours) - engine - HOST_ONLY - REFUSED
    )


def read_settings() -> tuple[set[str], set[str]]:
    """Return the product's variables, and those of them that are secrets, from the source."""
    names = {
        node.target.id.upper()
        for file in (ROOT / "mlhub" / "variables").glob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    values = {
        ast.unparse(node.targets[0]): node.value
        for node in ast.parse((ROOT / "mlhub" / "settings.py").read_text()).body
        if isinstance(node, ast.Assign)
    }
    secret = values["SECRET_VARIABLES"]
    assert isinstance(secret, ast.Call)
    return names, ast.literal_eval(secret.args[0])


def list_given() -> list[Given]:
    """Return every variable that names something on this machine."""
    return [
        Given("MLHUB_USER_CONFIG", "/resources/jupyterhub_user_config.py"),
        # A changed pair is followed, but whether there is one is looked at once.
        Given(
            "MLHUB_SSL_DIR", "/resources/ssl", is_folder=True, looked_for=("cert.crt", "cert.key")
        ),
        # The list in it is read again when it changes.
        Given("MLHUB_USERS_DIR", "/resources/users", is_folder=True),
        Given("MLHUB_SSH_KEYS_DIR", "/etc/mlhub/ssh", is_folder=True, read_once=("ca", "host_key")),
        Given("POLICY_FILE", "/etc/mlhub/policy", is_followed=True),
        Given("MANUAL_AUTH_FILE", "/etc/mlhub/keys", is_followed=True),
        *(
            Given(f"{name}_FILE", f"/run/secrets/{name.lower()}")
            for name in sorted(read_settings()[1])
        ),
    ]


def find_path(given: Given, environment: Mapping[str, str]) -> Path | None:
    """Return the path that the environment gives, or None; raise ``ToolError`` where nothing of the
    kind is there.
    """
    value = environment.get(given.variable, "").strip()
    if (
        given.variable == "MLHUB_USER_CONFIG"
        and not value
        and (ROOT / "jupyterhub_user_config.py").is_file()
    ):
        return ROOT / "jupyterhub_user_config.py"
    if not value or (given.variable == "MANUAL_AUTH_FILE" and value.lower() in OFF):
        return None
    # Not by Path: it raises where a folder on the way is closed to this person.
    if not (os.path.isdir if given.is_folder else os.path.isfile)(value):
        kind = "folder" if given.is_folder else "file"
        raise ToolError(
            f"{given.variable}={value!r} is not a {kind} on this machine, to be mounted into the"
            " hub. Give its whole path, or unset it."
        )
    return Path(value).resolve()


def read_contents(given: Given, path: Path) -> dict[str, str]:
    """Return digests of what the hub reads at its start alone."""
    contents = {str(path / name): str(os.path.isfile(path / name)) for name in given.looked_for}
    for file in given.list_read_once(path):
        try:
            contents[str(file)] = hashlib.sha256(file.read_bytes()).hexdigest()
        except FileNotFoundError:
            contents[str(file)] = ""  # boot has the sentence for it
        except OSError as error:
            raise ToolError(
                f"{given.variable}: {file} cannot be read ({error.strerror}), so a change of it"
                " would not be seen. Make it readable for you, or run this as its owner."
            ) from error
    return contents


def find_data_directory(environment: Mapping[str, str]) -> str:
    """Return the directory inside the container that holds the hub's data."""
    value = environment.get("DATA_VOLUME_CONTAINER") or "/data"
    path = os.path.normpath(value)
    if not path.startswith("/") or not path.strip("/"):
        raise ToolError(
            f"DATA_VOLUME_CONTAINER={value!r} is not the whole path of a directory. Write e.g."
            " DATA_VOLUME_CONTAINER=/data"
        )
    return "/" + path.lstrip("/")


def make_mark(key: bytes, command: Sequence[str], handover: Handover, image: str) -> str:
    """Return what a container is labeled with: equal for equal settings, and nothing else can be
    told from it without the key.
    """
    told = json.dumps([*command, handover.variables, handover.contents, image], sort_keys=True)
    return hmac.new(key, told.encode(), "sha256").hexdigest()[:32]


def ensure_key(file: Path = CACHE / "up.key") -> bytes:
    """Return this person's key for marks, made once and readable for nobody else; with a new one,
    the hub is replaced once.
    """
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            dir=file.parent, prefix=".up-", delete=False
        ) as draft:  # its mode is 0600
            draft.write(secrets.token_bytes(32))
        Path(draft.name).replace(file)
    return file.read_bytes()
