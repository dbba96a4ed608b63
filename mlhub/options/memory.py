"""Memory, in bytes. Pure: no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import BeforeValidator, Field, WithJsonSchema

from mlhub import quantities
from mlhub.options.amount import (
    LIMIT_SCHEMA,
    NUMBER_OR_TEXT,
    LimitsRule,
    SizeAmount,
    describe_size,
    or_unlimited,
)
from mlhub.options.option import Host

Memory = Annotated[
    int, BeforeValidator(quantities.parse_memory), WithJsonSchema({"anyOf": NUMBER_OR_TEXT})
]
MemoryLimit = Annotated[float, BeforeValidator(or_unlimited(quantities.parse_memory)), LIMIT_SCHEMA]


class MemoryRule(LimitsRule):
    """Limit memory."""

    default: Memory | None = Field(
        default=None, description="Memory of a workspace when nobody asks."
    )
    max: MemoryLimit | None = Field(
        default=None, description="Most memory that one workspace may have. Swap is not added."
    )


@dataclass(frozen=True, kw_only=True)
class MemoryOption(SizeAmount):
    """Memory, of which the host has so much."""

    def describe_host(self, host: Host) -> str:
        """Write how much memory the host has."""
        return describe_size(host.memory_bytes) if host.memory_bytes else ""


MEMORY = MemoryOption(
    name="mem_limit",
    label="Memory",
    description="Memory in GB, or with a unit: `4`, `512M`, `2Gi`.",
    help="In GB, or with a unit: 4, 512M.",
    is_basic=True,
    may_change_while_running=True,
)
