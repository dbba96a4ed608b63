"""CPU cores. Pure: no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import BeforeValidator, Field, WithJsonSchema

from mlhub import quantities
from mlhub.options.amount import LIMIT_SCHEMA, NUMBER_OR_TEXT, Amount, LimitsRule, or_unlimited
from mlhub.options.option import Host

Cores = Annotated[
    float, BeforeValidator(quantities.parse_cores), WithJsonSchema({"anyOf": NUMBER_OR_TEXT})
]
CoresLimit = Annotated[float, BeforeValidator(or_unlimited(quantities.parse_cores)), LIMIT_SCHEMA]


class CoresRule(LimitsRule):
    """Limit CPU cores."""

    default: Cores | None = Field(
        default=None, description="CPU cores of a workspace when nobody asks."
    )
    max: CoresLimit | None = Field(
        default=None, description="Most CPU cores that one workspace may have."
    )


@dataclass(frozen=True, kw_only=True)
class CpuOption(Amount):
    """Cores, of which the host has so many."""

    def describe_host(self, host: Host) -> str:
        """Write how many cores the host has."""
        return quantities.format_number(host.cpus) if host.cpus else ""


CPU = CpuOption(
    name="cpu_limit",
    label="CPU cores",
    description="CPU cores: `2`, `0.5`, `500m`.",
    help="Such as 1 or 0.5.",
    is_plain_number=True,
    is_basic=True,
    may_change_while_running=True,
)
