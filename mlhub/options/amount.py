"""Options that are numbers: a default, and a maximum. Pure: no I/O.

Invariants: only defaults are cut, to what is allowed. No value is above its maximum.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import WithJsonSchema, model_validator

from mlhub import quantities
from mlhub.options.option import Option, Reason, Refusal, Request, Setting, StrictModel
from mlhub.texts import Text

UNLIMITED = "unlimited"
NUMBER_OR_TEXT = [{"type": "number", "exclusiveMinimum": 0}, {"type": "string"}]
LIMIT_SCHEMA = WithJsonSchema({"anyOf": [{"type": "number", "minimum": 0}, {"type": "string"}]})
COUNT_SCHEMA = WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 0}, {"const": UNLIMITED}]})


class LimitsRule(StrictModel):
    """Refuse a default above the maximum of the same rule."""

    @model_validator(mode="after")
    def _default_fits(self) -> Any:
        default, maximum = getattr(self, "default", None), getattr(self, "max", None)
        if default is not None and maximum is not None and default > maximum:
            raise ValueError("has a default above its own max. Lower the default, or raise max.")
        return self


def or_unlimited(parse: Callable[[Any], float]) -> Callable[[Any], float]:
    """Make a parser of limits, which may be lifted, from one of amounts."""

    def read(value: Any) -> float:
        if value == UNLIMITED or (isinstance(value, float) and math.isinf(value)):
            return math.inf
        try:
            return parse(value)
        except ValueError as error:
            raise ValueError(f"{error} Or write {UNLIMITED}.") from None

    return read


@dataclass(frozen=True, kw_only=True)
class Amount(Option):
    """An option that is a number: a default, and a maximum."""

    write_amount: Callable[[float], str] = quantities.format_number
    is_plain_number: bool = False
    is_kept: bool = True

    def choose(self, request: Request) -> tuple[Any, Reason]:
        """Grant what was asked, else the default, else the most there is."""
        default = request.find_setting(self.name, "default")
        return self.grant(request.asked.get(self.name), default, self.find_maximum(request))

    def find_maximum(self, request: Request) -> Setting | None:
        """Return the smaller one of the rule's maximum and what bounds it by nature."""
        bounds = (request.find_setting(self.name, "max"), self.find_bound(request))
        limits = [limit for limit in bounds if limit is not None and not math.isinf(limit.value)]
        return min(limits, key=lambda setting: setting.value, default=None)

    def find_bound(self, request: Request) -> Setting | None:
        """Return what bounds it whatever the rules say."""
        return request.host_limits.get(self.name)

    def grant(
        self, asked: float | None, default: Setting | None, limit: Setting | None
    ) -> tuple[Any, Reason]:
        """Return the amount, and why; raise ``Refusal`` where more was asked than there is."""
        show = self.show
        if asked is not None:
            if limit is not None and asked > limit.value:
                most, wanted = self.tell(limit.value), self.tell(asked)
                if most == wanted:  # rounded
                    most, wanted = show(limit.value), show(asked)
                sentence = Text(
                    "%(name)s=%(wanted)s is more than you may have. Ask for at most %(most)s.",
                    name=self.name,
                    wanted=wanted,
                    most=most,
                )
                raise Refusal(self.name, sentence, limit.source)
            if limit is None:
                return asked, Reason("as asked; no maximum")
            return asked, Reason(f"as asked; at most {show(limit.value)}", limit.source)
        if default is None:
            if limit is None:
                return None, Reason("no rule limits it")
            return self.cast(limit.value), Reason("the most there is", limit.source)
        if limit is not None and default.value > limit.value:
            text = f"default {show(default.value)} of {default.source}, cut to the maximum"
            return self.cast(limit.value), Reason(text, limit.source)
        return default.value, Reason("default", default.source)

    def cast(self, amount: float) -> Any:
        """Return a limit as a value of this option."""
        return amount

    def write(self, value: Any) -> Any:
        """Return a number, or a size with its unit."""
        return self.show(value) if not self.is_plain_number else plain(value)

    def show(self, value: Any) -> str:
        """Write the amount."""
        return self.write_amount(value)

    def tell(self, value: Any) -> str:
        """Write the amount in a sentence, in the units that the form has beside the field."""
        return self.show(value)

    def describe(self, value: Any) -> str:
        """Write the amount; None is without limit."""
        return UNLIMITED if value is None else self.show(value)

    def find_number(self, maximum: Setting) -> float | None:
        """Return the maximum itself; sizes have units."""
        return maximum.value if self.is_plain_number else None


@dataclass(frozen=True, kw_only=True)
class SizeAmount(Amount):
    """An amount in bytes."""

    write_amount: Callable[[float], str] = quantities.format_size

    def cast(self, amount: float) -> int:
        """Return whole bytes."""
        return int(amount)

    def tell(self, value: Any) -> str:
        """Write a size in MB or GB."""
        return describe_size(value)

    def find_words(self, text: str) -> str:
        """Write a size in MB or GB, never rounded up: what is shown as the most may be typed."""
        return describe_size(quantities.parse_size(text)) if text else ""


def describe_size(size: float) -> str:
    """Write bytes in MB or GB, rounded down."""
    if size < quantities.GIBIBYTE:
        return f"{int(size // quantities.MEBIBYTE)} MB"
    return f"{math.floor(size / quantities.GIBIBYTE * 10) / 10:g} GB"


def plain(number: float) -> int | float:
    """Return a whole number as an integer."""
    return int(number) if number == int(number) else number
