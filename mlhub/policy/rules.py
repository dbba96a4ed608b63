"""What one rule of the site's policy may say: the typed shape of the YAML file. Pure: no I/O.

Invariants: every key has a description, from which the reference page and the JSON schema are made.
A key that a rule leaves out says nothing. Where the same rule gives a default above its own
maximum, it is refused.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from mlhub import quantities as values
from mlhub.options.amount import LIMIT_SCHEMA
from mlhub.options.cpu import CoresLimit, CoresRule
from mlhub.options.days_to_live import DaysRule
from mlhub.options.environment import EnvironmentRule
from mlhub.options.gpus import CountLimit, GpuRule
from mlhub.options.image import CustomImages
from mlhub.options.image_catalogue import OptionList
from mlhub.options.license import LicenseRule
from mlhub.options.memory import MemoryLimit, MemoryRule
from mlhub.options.option import StrictModel
from mlhub.options.schedule import ScheduleRule
from mlhub.options.shared_memory import SharedMemoryRule
from mlhub.options.texts import TextList, parse_text
from mlhub.options.volume import Flag, VolumeRule
from mlhub.policy.idle import IdleRule


class TotalRule(StrictModel):
    """Limit the sum over running workspaces."""

    servers: CountLimit | None = Field(
        default=None, description="Number of workspaces running at once."
    )
    cpu_limit: CoresLimit | None = Field(default=None, description="Sum of their CPU limits.")
    mem_limit: MemoryLimit | None = Field(default=None, description="Sum of their memory limits.")
    gpus: CountLimit | None = Field(
        default=None, description="Sum of their GPUs; one that two workspaces share counts twice."
    )
    volumes: CountLimit | None = Field(default=None, description="Number of their volumes.")


class PersonTotalRule(TotalRule):
    """Limit the sum over the workspaces of one person."""

    disk: MemoryLimit | None = Field(
        default=None,
        description=(
            "Disk that their files take, those in the trash too, written like memory; of one person"
            " alone. Above it a workspace starts only where it has files already and no other one"
            " of theirs runs. It is measured every few minutes; on Kubernetes the sizes of claims"
            " count."
        ),
    )


class Rule(StrictModel):
    """Say what somebody may ask for."""

    images: TextList | None = Field(
        default=None, description="Names of the catalogue that may be used; shell patterns."
    )
    default_image: Annotated[str, BeforeValidator(parse_text)] | None = Field(
        default=None, description="Image when nobody chooses."
    )
    custom_images: CustomImages | None = Field(
        default=None,
        description=(
            "Whether images outside the catalogue may be used: `true`, `false`, or a list of shell"
            " patterns over references."
        ),
    )
    options: OptionList | None = Field(
        default=None, description="Options that may be set at all; the form shows these."
    )
    cpu_limit: CoresRule | None = Field(default=None, description="CPU cores: `2`, `0.5`, `500m`.")
    mem_limit: MemoryRule | None = Field(
        default=None, description="Memory: GB, or with a unit: `4`, `512M`, `4G`."
    )
    shm_size: SharedMemoryRule | None = Field(
        default=None, description="Shared memory, written like memory."
    )
    gpus: GpuRule | None = Field(default=None, description="GPUs.")
    days_to_live: DaysRule | None = Field(
        default=None, description="Days until a workspace expires."
    )
    schedule: ScheduleRule | None = Field(
        default=None, description="When workspaces are started and stopped by the clock."
    )
    is_mount_volume: VolumeRule | None = Field(default=None, description="Volumes.")
    env: EnvironmentRule | None = Field(default=None, description="Environment variables.")
    license: LicenseRule | None = Field(
        default=None, description="A license key, which the hub keeps secret."
    )
    ssh: Flag | None = Field(
        default=None,
        description=(
            "Whether the workspace can be entered by SSH. Holds at once, also for workspaces that"
            " run."
        ),
    )
    tools: Flag | None = Field(
        default=None,
        description=(
            "Whether the ports of the workspace are reached below `/user/…/tools/`. Holds at once,"
            " also for workspaces that run."
        ),
    )
    sharing: Flag | None = Field(
        default=None,
        description=(
            "Whether people may let others into their workspaces, for a time. What is shared"
            " already goes on until that ends or is taken back."
        ),
    )
    port_sharing: Flag | None = Field(
        default=None,
        description=(
            "Whether people may open single ports of their workspaces to others, for a time. Holds"
            " at once, also for what is shared already."
        ),
    )
    publishing: Flag | None = Field(
        default=None,
        description=(
            "Whether people may publish shared ports as apps, which are started again when they"
            " have died, and may let those whom they are for start the workspace. Takes"
            " `port_sharing`. Holds at once, also for what is published already."
        ),
    )
    idle: IdleRule | None = Field(
        default=None,
        description=(
            "When a workspace is stopped that nobody uses, or that has run for long. Holds at once,"
            " also for workspaces that run."
        ),
    )
    total: PersonTotalRule | None = Field(
        default=None, description="Limits over all workspaces of one person that run at once."
    )


class GroupRule(Rule):
    """Say what the members of a group may ask for, one by one and together."""

    group_total: TotalRule | None = Field(
        default=None,
        description=(
            "Limits over all workspaces of all members that run at once. Those of every group of a"
            " person hold."
        ),
    )


class Reserve(StrictModel):
    """Say what of the host no workspace gets."""

    cpu_limit: Annotated[
        float,
        BeforeValidator(lambda value: float(values.read_number(value, "Write e.g. 1."))),
        LIMIT_SCHEMA,
    ] = Field(default=1.0, description="CPU cores kept for the hub; at most half of the host's.")
    mem_limit: Annotated[
        int,
        BeforeValidator(lambda value: 0 if value in (0, "0") else values.parse_size(value)),
        LIMIT_SCHEMA,
    ] = Field(
        default=values.GIBIBYTE, description="Memory kept for the hub; at most half of the host's."
    )
