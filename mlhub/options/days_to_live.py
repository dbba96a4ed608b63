"""Days until a workspace expires; None is for ever. Pure: no I/O."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from mlhub import quantities
from mlhub.options.amount import LIMIT_SCHEMA, Amount, LimitsRule, or_unlimited
from mlhub.options.option import Reason, Request
from mlhub.texts import Text


def _parse_limit(value: Any) -> float:
    if not (days := quantities.parse_days(value)):
        raise ValueError("is no limit: 0 days means for ever.")
    return days


Days = Annotated[
    float,
    BeforeValidator(quantities.parse_days),
    WithJsonSchema({"anyOf": [{"type": "number", "minimum": 0}, {"type": "string"}]}),
]
DaysLimit = Annotated[float, BeforeValidator(or_unlimited(_parse_limit)), LIMIT_SCHEMA]


class DaysRule(LimitsRule):
    """Limit the life of a workspace."""

    default: Days | None = Field(
        default=None,
        description="Days to live when nobody asks; `0` is for ever. Unset: `max`.",
    )
    max: DaysLimit | None = Field(default=None, description="Most days to live.")

    @model_validator(mode="after")
    def _for_ever_fits(self) -> DaysRule:
        if self.default == quantities.NEVER and self.max not in (None, math.inf):
            raise ValueError(
                "has the default 0, for ever, and a max. Give a default, or leave it out."
            )
        return self


@dataclass(frozen=True, kw_only=True)
class DaysOption(Amount):
    """A number of days, of which 0 is endless."""

    is_kept: bool = False

    def choose(self, request: Request) -> tuple[Any, Reason]:
        """Return the days to live, and why; None is for ever."""
        asked, default = request.asked.get(self.name), request.settings[f"{self.name}.default"]
        endless = replace(default, value=default.value or math.inf)
        wanted = None if asked is None else asked or math.inf
        days, reason = replace(self, write_amount=_in_words).grant(
            wanted, endless, self.find_maximum(request)
        )
        return (None if days is None or math.isinf(days) else days), reason

    def describe(self, value: Any) -> str:
        """Write the days; None is for ever."""
        return "for ever" if value is None else self.show(value)

    def show_default(self, value: Any) -> str:
        """Write the days as they are typed."""
        return "0" if value is None else self.show(value)

    def find_words(self, text: str) -> str:
        """Write what 0 means."""
        return Text("for ever") if text == "0" else text


def _in_words(days: float) -> str:
    if math.isinf(days):
        return Text("for ever")
    return Text("%(days)s days", days=quantities.format_number(days))


DAYS_TO_LIVE = DaysOption(
    name="days_to_live",
    label="Days to live",
    description="Days until the workspace expires; `0` is for ever.",
    help="Then the workspace expires.",
    endless_note="0 is for ever.",
    is_plain_number=True,
)
