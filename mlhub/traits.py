"""What becomes of the traits that a site may write into its file: honored, refused, or without
effect by nature. Pure: no I/O.

Each package rules, beside its code, on the traits of the upstream classes that it builds on; the
hub looks at a site's file by these rulings when it starts, and docs/reference/traits.md shows them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from mlhub.errors import ConfigurationError

USER_CONFIG = "jupyterhub_user_config.py"
# Goes through all that is refused, by these tables.
REFUSAL_TEST = (
    "tests/unit/test_trait_rulings.py::test_a_refused_trait_is_refused_with_its_line_and_the_cure"
)


class Outcome(StrEnum):
    """What becomes of a trait."""

    HONORED = "honored"
    REFUSED = "refused"
    WITHOUT_EFFECT = "without effect"


@dataclass(frozen=True)
class Ruling:
    """What becomes of one trait.

    ``sentence`` is the reason and the cure of a refusal, why something has no effect, or what is
    particular about what is honored. ``test`` is what holds us to it, as pytest names it. A refused
    trait may still have one of the values ``allows``, which ask for nothing. ``check`` raises
    ``ConfigurationError`` for single values.
    """

    outcome: Outcome
    sentence: str = ""
    test: str = ""
    allows: tuple[Any, ...] = ()
    check: Callable[[Any], None] | None = field(default=None, compare=False)
    is_compared: bool = False  # with what the deployment has decided (mlhub/hub/layers/fact.py)


Rulings = Mapping[str, Ruling]


class RefusedLineError(ConfigurationError):
    """Report what one line of the site's file sets."""

    def __init__(self, section: str, trait: str, shown: str, reason: str) -> None:
        self.section, self.trait, self.shown, self.reason = section, trait, shown, reason
        super().__init__(self.tell(""))

    def tell(self, place: str) -> str:
        """Tell of it; ``place`` is file and line, where they are known."""
        where = f"{place}," if place else USER_CONFIG
        return f"{where} sets c.{self.section}.{self.trait} to {self.shown}, but {self.reason}"


def honored(
    test: str, names: str, sentence: str = "", check: Callable[[Any], None] | None = None
) -> dict[str, Ruling]:
    """Rule that traits mean what upstream says; ``names`` are divided by blanks."""
    ruling = Ruling(Outcome.HONORED, sentence, test, check=check)
    return dict.fromkeys(names.split(), ruling)


def refused(test: str, names: str, sentence: str, allows: Iterable[Any] = ()) -> dict[str, Ruling]:
    """Rule that traits are refused, but for values that ask for nothing."""
    return dict.fromkeys(names.split(), Ruling(Outcome.REFUSED, sentence, test, tuple(allows)))


def decided(test: str, names: str, sentence: str) -> dict[str, Ruling]:
    """Rule that the deployment decides about traits: a line is refused unless it repeats that."""
    ruling = Ruling(Outcome.REFUSED, sentence, test, is_compared=True)
    return dict.fromkeys(names.split(), ruling)


def without_effect(names: str, sentence: str) -> dict[str, Ruling]:
    """Rule that traits change nothing, for a reason that is in their nature."""
    return dict.fromkeys(names.split(), Ruling(Outcome.WITHOUT_EFFECT, sentence))


def check_value(ruling: Ruling, section: str, trait: str, value: Any, shown: str) -> None:
    """Raise ``RefusedLineError`` where a trait may not have a value."""
    if ruling.is_compared:
        return
    if ruling.outcome is Outcome.REFUSED and not any(
        value is allowed or (type(value) is type(allowed) and value == allowed)
        for allowed in ruling.allows
    ):
        raise RefusedLineError(section, trait, shown, ruling.sentence)
    if ruling.check is not None:
        try:
            ruling.check(value)
        except ConfigurationError as error:
            raise RefusedLineError(section, trait, shown, str(error)) from error
