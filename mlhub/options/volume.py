"""Whether files are kept in a volume. Pure: no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from mlhub import quantities
from mlhub.options.option import Option, Reason, Request, StrictModel

Flag = Annotated[bool, BeforeValidator(quantities.parse_flag), WithJsonSchema({"type": "boolean"})]


class VolumeRule(StrictModel):
    """Decide about volumes."""

    default: Flag | None = Field(
        default=None, description="Keep files in a volume when nobody says otherwise."
    )


@dataclass(frozen=True, kw_only=True)
class VolumeOption(Option):
    """Yes or no."""

    is_kept: bool = True

    def choose(self, request: Request) -> tuple[Any, Reason]:
        """Return what was asked, else the default."""
        default, asked = request.settings[f"{self.name}.default"], request.asked.get(self.name)
        if asked is None:
            return default.value, Reason("default", default.source)
        return asked, Reason("as asked", request.settings["options"].source)

    def show(self, value: Any) -> str:
        """Write true or false."""
        return str(value).lower()


VOLUME = VolumeOption(
    name="is_mount_volume",
    label="Keep files in a volume",
    description="Keep the workspace's files in a volume that outlives its container.",
    help="Without it, files are lost when the workspace is deleted or made anew.",
    kind="check",
)
