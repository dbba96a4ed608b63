"""A license key for a program of the workspace: a secret. Pure: no I/O.

It is asked for only where the policy names the environment variable in which the program looks for
it. The hub keeps it sealed (``mlhub/workspaces/sealing.py``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from mlhub.options.environment import explain_refusal
from mlhub.options.option import Option, Reason, Refusal, Request, StrictModel
from mlhub.texts import Text

MAX_CHARACTERS = 4096
NO_LICENSE = "none"


def parse_license(value: Any) -> str:
    """Read a license key; ``none`` is the empty text. Raises ``ValueError`` without the value."""
    if not isinstance(value, str):
        raise ValueError(Text("is not text. Put it in quotes."))
    text = value.strip()
    if len(text) > MAX_CHARACTERS:
        raise ValueError(
            Text("is longer than %(most)s characters. Write the key alone.", most=MAX_CHARACTERS)
        )
    if not text.isprintable():
        raise ValueError(
            Text("has control characters or several lines. Write the key in one line.")
        )
    return "" if text == NO_LICENSE else text


def parse_variable(value: Any) -> str:
    """Read the name of an environment variable that a site may set."""
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,127}", value):
        raise ValueError("is not a name of a variable. Write e.g. LICENSE_KEY.")
    if reason := explain_refusal(value):
        raise ValueError(f"may not be set: {reason}. Write e.g. LICENSE_KEY.")
    return value


LicenseKey = Annotated[
    str, BeforeValidator(parse_license), WithJsonSchema({"type": "string", "writeOnly": True})
]
Variable = Annotated[str, BeforeValidator(parse_variable), WithJsonSchema({"type": "string"})]


class LicenseRule(StrictModel):
    """Say where a license key goes."""

    variable: Variable | None = Field(
        default=None,
        description=(
            "Environment variable that holds the license key, such as `LICENSE_KEY`. A key is asked"
            " for only where this is set."
        ),
    )


@dataclass(frozen=True)
class GivenLicense:
    """Hold a license key and the environment variable for it."""

    variable: str
    key: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class LicenseOption(Option):
    """A secret text."""

    kind: str = "password"
    is_secret: bool = True

    def choose(self, request: Request) -> tuple[Any, Reason]:
        """Return what was asked, where the policy names a variable for it."""
        asked, variable = request.asked.get(self.name), request.find_setting(self.name, "variable")
        if not asked:
            return None, Reason("nothing asked")
        if variable is None:
            sentence = Text("license is not asked for here. Leave it out.")
            raise Refusal(self.name, sentence, request.settings["options"].source)
        return GivenLicense(variable.value, asked), Reason("as asked", variable.source)

    def has_nothing_to_choose(self, request: Request) -> bool:
        """Return True if no program looks for a license key."""
        return request.find_setting(self.name, "variable") is None

    def write(self, value: Any) -> Any:
        """Return the key, or None for none."""
        return value or None

    def describe(self, value: Any) -> str:
        """Write whether there is one."""
        return "none" if value is None else "set"

    def make_variables(self, value: Any) -> Mapping[str, str]:
        """Return the variable in which the program looks."""
        return {} if value is None else {value.variable: value.key}


LICENSE = LicenseOption(
    name="license",
    label="License key",
    description="License key of a program in the workspace; `none` takes it away.",
    help="It is kept secret and given to the workspace alone.",
)
