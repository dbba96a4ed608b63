"""What one rule of the site's policy may say: the typed shape of the YAML file. Pure: no I/O.

Promise: every key has a description, from which the reference page and the JSON schema are made. A key that a rule
leaves out says nothing. Where the same rule gives a default above its own maximum, it is refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from mlhub.workspace import values
from mlhub.workspace.catalogue import OptionList, TextList, parse_list, parse_text
from mlhub.workspace.options import Cores, Days, Flag, Gpus, Memory, Size, StrictModel

UNLIMITED = "unlimited"


def _or_unlimited(parse: Callable[[Any], float]) -> Callable[[Any], float]:
    def read(value: Any) -> float:
        if value == UNLIMITED or (isinstance(value, float) and math.isinf(value)):
            return math.inf
        try:
            return parse(value)
        except ValueError as error:
            raise ValueError(f"{error} Or write {UNLIMITED}.") from None

    return read


def _parse_days_limit(value: Any) -> float:
    if not (days := values.parse_days(value)):
        raise ValueError("is no limit: 0 days means for ever.")
    return days


def _parse_custom_images(value: Any) -> bool | tuple[str, ...]:
    return tuple(map(parse_text, value)) if isinstance(value, list | tuple) else values.parse_flag(value)


_LIMIT_SCHEMA = {"anyOf": [{"type": "number", "minimum": 0}, {"type": "string"}]}
_LIMIT = WithJsonSchema(_LIMIT_SCHEMA)
_COUNT = WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 0}, {"const": UNLIMITED}]})
CoresLimit = Annotated[float, BeforeValidator(_or_unlimited(values.parse_cores)), _LIMIT]
MemoryLimit = Annotated[float, BeforeValidator(_or_unlimited(values.parse_memory)), _LIMIT]
SizeLimit = Annotated[float, BeforeValidator(_or_unlimited(values.parse_size)), _LIMIT]
DaysLimit = Annotated[float, BeforeValidator(_or_unlimited(_parse_days_limit)), _LIMIT]
CountLimit = Annotated[float, BeforeValidator(_or_unlimited(values.parse_count)), _COUNT]
CustomImages = Annotated[
    bool | tuple[str, ...],
    BeforeValidator(_parse_custom_images),
    WithJsonSchema({"anyOf": [{"type": "boolean"}, {"type": "array", "items": {"type": "string"}}]}),
]
Devices = Annotated[
    tuple[str, ...],
    BeforeValidator(lambda value: values.parse_gpus(parse_list(value))),
    WithJsonSchema({"anyOf": [{"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "integer"}]}}, {"const": "all"}]}),
]


class _Limits(StrictModel):
    @model_validator(mode="after")
    def _default_fits(self) -> Any:
        default, maximum = getattr(self, "default", None), getattr(self, "max", None)
        if default is not None and maximum is not None and default > maximum:
            raise ValueError("has a default above its own max. Lower the default, or raise max.")
        return self


class CoresRule(_Limits):
    """Limit CPU cores."""

    default: Cores | None = Field(default=None, description="CPU cores of a workspace when nobody asks.")
    max: CoresLimit | None = Field(default=None, description="Most CPU cores that one workspace may have.")


class MemoryRule(_Limits):
    """Limit memory."""

    default: Memory | None = Field(default=None, description="Memory of a workspace when nobody asks.")
    max: MemoryLimit | None = Field(default=None, description="Most memory that one workspace may have. Swap is not added.")


class SharedMemoryRule(_Limits):
    """Limit shared memory."""

    default: Size | None = Field(default=None, description="Size of `/dev/shm` when nobody asks.")
    max: SizeLimit | None = Field(default=None, description="Largest `/dev/shm`. It is never larger than the workspace's memory.")


class DaysRule(_Limits):
    """Limit the life of a workspace."""

    default: Days | None = Field(default=None, description="Days to live when nobody asks; `0` is for ever. Unset: `max`.")
    max: DaysLimit | None = Field(default=None, description="Most days to live.")

    @model_validator(mode="after")
    def _for_ever_fits(self) -> DaysRule:
        if self.default == values.NEVER and self.max not in (None, math.inf):
            raise ValueError("has the default 0, for ever, and a max. Give a default, or leave it out.")
        return self


class GpuRule(StrictModel):
    """Limit GPUs."""

    default: Gpus | None = Field(default=None, description="GPUs of a workspace when nobody asks: `none`, `all`, indices or UUIDs.")
    max: CountLimit | None = Field(default=None, description="Most GPUs that one workspace may have; `0` is none.")
    devices: Devices | None = Field(default=None, description="The GPUs that may be used: indices or UUIDs, or `all`.")


class VolumeRule(StrictModel):
    """Decide about volumes."""

    default: Flag | None = Field(default=None, description="Keep files in a volume when nobody says otherwise.")


class EnvironmentRule(StrictModel):
    """Decide which variables people may set."""

    allow: TextList | None = Field(default=None, description="Names that may be set; shell patterns.")
    deny: TextList | None = Field(
        default=None, description="Names that may not be set, also where `allow` names them. What is always refused stays refused."
    )


class TotalRule(StrictModel):
    """Limit the sum over running workspaces."""

    servers: CountLimit | None = Field(default=None, description="Number of workspaces running at once.")
    cpu_limit: CoresLimit | None = Field(default=None, description="Sum of their CPU limits.")
    mem_limit: MemoryLimit | None = Field(default=None, description="Sum of their memory limits.")
    gpus: CountLimit | None = Field(default=None, description="Sum of their GPUs; one that two workspaces share counts twice.")
    volumes: CountLimit | None = Field(default=None, description="Number of their volumes.")


class Rule(StrictModel):
    """Say what somebody may ask for."""

    images: TextList | None = Field(default=None, description="Names of the catalogue that may be used; shell patterns.")
    default_image: Annotated[str, BeforeValidator(parse_text)] | None = Field(default=None, description="Image when nobody chooses.")
    custom_images: CustomImages | None = Field(
        default=None,
        description="Whether images outside the catalogue may be used: `true`, `false`, or a list of shell patterns over references.",
    )
    options: OptionList | None = Field(default=None, description="Options that may be set at all; the form shows these.")
    cpu_limit: CoresRule | None = Field(default=None, description="CPU cores: `2`, `0.5`, `500m`.")
    mem_limit: MemoryRule | None = Field(default=None, description="Memory: GB, or with a unit: `4`, `512M`, `4G`.")
    shm_size: SharedMemoryRule | None = Field(default=None, description="Shared memory, written like memory.")
    gpus: GpuRule | None = Field(default=None, description="GPUs.")
    days_to_live: DaysRule | None = Field(default=None, description="Days until a workspace expires.")
    is_mount_volume: VolumeRule | None = Field(default=None, description="Volumes.")
    env: EnvironmentRule | None = Field(default=None, description="Environment variables.")
    ssh: Flag | None = Field(
        default=None, description="Whether the workspace can be entered by SSH. Holds at once, also for workspaces that run."
    )
    total: TotalRule | None = Field(default=None, description="Limits over all workspaces of one person that run at once.")


class GroupRule(Rule):
    """Say what the members of a group may ask for, one by one and together."""

    group_total: TotalRule | None = Field(
        default=None, description="Limits over all workspaces of all members that run at once. Those of every group of a person hold."
    )


class Reserve(StrictModel):
    """Say what of the host no workspace gets."""

    cpu_limit: Annotated[float, BeforeValidator(lambda value: float(values.read_number(value, "Write e.g. 1."))), _LIMIT] = Field(
        default=1.0, description="CPU cores kept for the hub; at most half of the host's."
    )
    mem_limit: Annotated[int, BeforeValidator(lambda value: 0 if value in (0, "0") else values.parse_size(value)), _LIMIT] = Field(
        default=values.GIBIBYTE, description="Memory kept for the hub; at most half of the host's."
    )
