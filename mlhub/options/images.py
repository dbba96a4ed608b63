"""What the hub knows about workspace images: port, data directory, command. Pure: no I/O.

A site describes its own images by ``c.Spawner.image_settings``, a dict from an image reference
(with shell wildcards) to any of the keys of ``ImageSettings``, or in the policy's image catalogue
(``mlhub/options/image_catalogue.py``), whose entries have the same keys.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError, WithJsonSchema

from mlhub import quantities
from mlhub.errors import ConfigurationError
from mlhub.options.option import StrictModel
from mlhub.options.our_images import OUR_WORKSPACE
from mlhub.options.texts import PlainText, TextList, parse_path
from mlhub.options.volume import Flag

DEFAULT_MOUNT_POINT = "/workspace"
MAX_COMMAND_BYTES = 8192
WEB = "web"
KINDS = ("jupyter", WEB)

Path = Annotated[
    str, BeforeValidator(parse_path), WithJsonSchema({"type": "string", "pattern": "^/"})
]
Id = Annotated[
    int,
    BeforeValidator(quantities.parse_id),
    WithJsonSchema({"type": "integer", "minimum": 1, "maximum": 2147483647}),
]
Port = Annotated[
    int,
    BeforeValidator(quantities.parse_port),
    WithJsonSchema({"type": "integer", "minimum": 1, "maximum": 65535}),
]


def parse_tool_path(value: Any) -> str:
    """Read where a tool begins, below its port."""
    if not isinstance(value, str) or not re.fullmatch(r"/(?!/)[!-\[\]-~]*", value):
        raise ValueError("is not a path of a tool. Write e.g. / or /app?folder=/workspace.")
    return value


ToolPath = Annotated[
    str, BeforeValidator(parse_tool_path), WithJsonSchema({"type": "string", "pattern": "^/"})
]


def parse_command(value: Any) -> str:
    """Read the command that starts a tool."""
    if not isinstance(value, str) or len(value.encode()) > MAX_COMMAND_BYTES or "\0" in value:
        raise ValueError(
            f"is not a command of at most {MAX_COMMAND_BYTES} bytes. Write e.g. code-server"
            " --bind-addr 127.0.0.1:8500 --auth none."
        )
    return value


Command = Annotated[str, BeforeValidator(parse_command), WithJsonSchema({"type": "string"})]


class DeclaredTool(StrictModel):
    """Name a program of an image that people open in the browser."""

    name: PlainText = Field(description="What people read on the button.")
    port: Port = Field(description="Port on which it listens.")
    path: ToolPath = Field(default="/", description="Where it begins.")
    absolute: Flag = Field(
        default=False,
        description="It hears its whole address, and not only what follows the port.",
    )

    start: Command = Field(
        default="",
        description=(
            "Command, for a shell, that starts it when somebody opens it and nothing listens at"
            " the port. Unset: the image starts it."
        ),
    )

    @property
    def place(self) -> str:
        """Where it is, below ``/tools/`` of its workspace."""
        return f"{'absolute/' if self.absolute else ''}{self.port}{self.path}"


def parse_kind(value: Any) -> str:
    """Read what an image is."""
    if value not in KINDS:
        raise ValueError(f"is no kind of image. Write one of: {', '.join(KINDS)}.")
    return str(value)


Kind = Annotated[
    str, BeforeValidator(parse_kind), WithJsonSchema({"type": "string", "enum": list(KINDS)})
]


class ImageSettings(StrictModel):
    """Describe one image; what is None is left to the spawner's own traits."""

    kind: Kind | None = Field(
        default=None,
        description=(
            "`web` for an image with a web server of its own and no `jupyterhub-singleuser`: the"
            " hub checks each request, and the image asks nobody who is there. Unset: `jupyter`."
        ),
    )
    absolute: Flag | None = Field(
        default=None,
        description=(
            "Of a `web` image: it hears its whole address, `/user/…`, and not only what follows."
        ),
    )
    ready_path: ToolPath | None = Field(
        default=None,
        description=(
            "Of a `web` image: where it answers, with anything but a server error, once it is"
            " ready. Unset: `/`."
        ),
    )

    port: Port | None = Field(
        default=None,
        description=(
            "Port on which the image listens. Unset: `c.Spawner.port`, or what is known of the"
            " image."
        ),
    )
    mount_point: Path | None = Field(
        default=None, description="Directory that the workspace's volume holds."
    )
    notebook_dir: Path | None = Field(
        default=None, description="Directory in which Jupyter starts."
    )
    cmd: TextList | None = Field(
        default=None, description="Command, where the image's own is not the right one."
    )
    ssh_port: Port | None = Field(
        default=None,
        description="Port of the image's own SSH server. Unset: SSH is brought into the workspace.",
    )
    uid: Id | None = Field(
        default=None,
        description=(
            "User as which the image runs on Kubernetes, by number. Unset: the image's own, which"
            " then has to be a number."
        ),
    )
    gid: Id | None = Field(
        default=None,
        description=(
            "Group as which the image runs on Kubernetes, by number. Unset: the image's own."
        ),
    )
    needs_root: Flag | None = Field(
        default=None,
        description=(
            "The image starts as root and steps down by itself, so it cannot run where workspaces"
            " may not be root. Unset: no, or what `image_settings` say."
        ),
    )
    tools: tuple[DeclaredTool, ...] | None = Field(
        default=None,
        description=(
            "Programs of the image that people open by a button of the home page: `name`, `port`,"
            " and where they need it `path`, `absolute` and `start`."
        ),
    )
    answers_tools: Flag | None = Field(
        default=None,
        description=(
            "The image answers `/tools` below its own address by itself, as those of 2021 do, and"
            " checks who asks. Unset: these addresses lead to the workspace's ports, behind the"
            " hub's check."
        ),
    )


SETTINGS_HELP = (
    "Image reference (shell wildcards allowed) → what is known of the image:\n"
    + "".join(
        f"\n- {name}: {field.description}" for name, field in ImageSettings.model_fields.items()
    )
)
# The Jupyter docker-stacks and images built on them keep their user's files in /home/jovyan;
# their own start script notices the hub's environment, so they need no command.
_DOCKER_STACKS = ImageSettings(
    port=8888, mount_point="/home/jovyan", notebook_dir="/home/jovyan", uid=1000, gid=100
)
_WORKSPACES_OF_2021 = ImageSettings(answers_tools=True)
_TENSORBOARD = ImageSettings(
    tools=(
        DeclaredTool(
            name="TensorBoard", port=6006, start="exec tensorboard --logdir runs --port 6006"
        ),
    )
)
KNOWN_IMAGES: dict[str, ImageSettings] = {
    "mltooling/ml-workspace*": _WORKSPACES_OF_2021,
    "*/mltooling/ml-workspace*": _WORKSPACES_OF_2021,
    "jupyter/*": _DOCKER_STACKS,
    "*/jupyter/*": _DOCKER_STACKS,
    "jupyterhub/singleuser*": _DOCKER_STACKS,
    "*/jupyterhub/singleuser*": _DOCKER_STACKS,
    f"{OUR_WORKSPACE}-science*": _TENSORBOARD,
    f"*/{OUR_WORKSPACE}-science*": _TENSORBOARD,
    f"{OUR_WORKSPACE}-gpu*": _TENSORBOARD,
    f"*/{OUR_WORKSPACE}-gpu*": _TENSORBOARD,
}


def find_image_settings(
    image: str,
    configured: Mapping[str, Mapping[str, Any]],
    traits: Mapping[str, Any] | None = None,
) -> ImageSettings:
    """Find the settings of an image: what the site configured first, then what is known.

    Of several patterns that match, the longest wins, key by key. ``traits`` are what the site says
    of all images: more than what is known, less than what it says of this one.
    Raises ``ConfigurationError`` for an entry that is malformed.
    """
    found = ImageSettings()
    for pattern in sorted(KNOWN_IMAGES, key=len):
        if fnmatchcase(image, pattern):
            found = KNOWN_IMAGES[pattern]
    # The spawner has checked its traits.
    found = found.model_copy(update=dict.fromkeys(traits or (), None))
    for pattern in sorted(configured, key=len):
        if fnmatchcase(image, pattern):
            entry = _read_entry(pattern, configured[pattern])
            told = {name: getattr(entry, name) for name in entry.model_fields_set}
            found = found.model_copy(update=told)
    return found


def lay_over(settings: ImageSettings, entry: object) -> ImageSettings:
    """Lay what an entry of the catalogue says over what is known otherwise.

    ``entry`` may be None.
    """
    if not isinstance(entry, ImageSettings):
        return settings
    told = {name: getattr(entry, name) for name in ImageSettings.model_fields}
    return settings.model_copy(
        update={name: each for name, each in told.items() if each is not None}
    )


def _read_entry(pattern: str, entry: Mapping[str, Any]) -> ImageSettings:
    where = f"image_settings[{pattern!r}]"
    if not isinstance(entry, Mapping):
        raise ConfigurationError(
            f"{where} = {quantities.show(entry)} is not a dict. Known keys:"
            f" {', '.join(ImageSettings.model_fields)}."
        )
    words = entry.get("cmd")
    if isinstance(words, list | tuple):
        # A site's Python may hold paths and numbers, which a file of YAML may not.
        entry = {**entry, "cmd": tuple(map(str, words))}
    try:
        return ImageSettings.model_validate(entry)
    except ValidationError as error:
        detail = error.errors()[0]
        sentence = detail["msg"].removeprefix("Value error, ")
        key = f": {detail['loc'][0]}={quantities.show(detail['input'])}" if detail["loc"] else ":"
        raise ConfigurationError(f"{where}{key} {sentence}") from None
