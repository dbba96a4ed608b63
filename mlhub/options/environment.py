"""The variables that people give their workspaces: how they are written, and which are nobody's to
set. Pure: no I/O.

Invariants: no value of a variable ever appears in an error, it may be a secret; lines are told by
their number.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, WithJsonSchema

from mlhub.options.option import Option, Reason, Refusal, Request, StrictModel
from mlhub.options.texts import TextList

MAX_VARIABLES = 100
MAX_VALUE = 8 * 1024
MAX_TOTAL = 32 * 1024

# Nobody may set these, in any case of letters, whatever the policy says.
ALWAYS_REFUSED: Mapping[str, str] = {
    # what the hub tells a workspace about itself, and believes of it
    "JUPYTERHUB_*": "the hub sets it",
    "JPY_*": "the hub sets it",
    "MLHUB_*": "the hub sets it",
    "MEM_LIMIT": "the hub sets it",
    "MEM_GUARANTEE": "the hub sets it",
    "CPU_LIMIT": "the hub sets it",
    "CPU_GUARANTEE": "the hub sets it",
    "SSH_JUMPHOST_TARGET": "the hub sets it",
    "AUTHENTICATE_VIA_JUPYTER": "the hub sets it",
    "KUBERNETES_*": "the cluster sets it",
    "HOSTNAME": "the engine sets it",
    # what container runtimes read as a wish for devices
    "NVIDIA_*": "it would reach past the choice of GPUs",
    "AMD_VISIBLE_DEVICES": "it would reach past the choice of GPUs",
    "ASCEND_*": "it would reach past the choice of GPUs",
    "HABANA_*": "it would reach past the choice of GPUs",
    "MTHREADS_*": "it would reach past the choice of GPUs",
    # what decides which program or library runs, before the workspace's own checks do
    "LD_*": "it would change which programs run",
    "GCONV_PATH": "it would change which programs run",
    "GLIBC_TUNABLES": "it would change which programs run",
    "PATH": "it would change which programs run",
    "PYTHONPATH": "it would change which programs run",
    "PYTHONHOME": "it would change which programs run",
    "PYTHONSTARTUP": "it would change which programs run",
    "PYTHONINSPECT": "it would change which programs run",
    "NODE_OPTIONS": "it would change which programs run",
    "NODE_PATH": "it would change which programs run",
    "PERL5OPT": "it would change which programs run",
    "PERL5LIB": "it would change which programs run",
    "RUBYOPT": "it would change which programs run",
    "BASH_ENV": "it would change which programs run",
    "BASH_FUNC_*": "it would change which programs run",
    "ENV": "it would change which programs run",
    "IFS": "it would change which programs run",
    "SHELL": "it would change which programs run",
    "HOME": "the image sets it",
    "USER": "the image sets it",
    "LOGNAME": "the image sets it",
    # what takes Jupyter's own sign-in away or changes where it reads its configuration
    "JUPYTER_TOKEN": "the hub decides who gets in",
    "JUPYTER_CONFIG_DIR": "the hub decides who gets in",
    "JUPYTER_CONFIG_PATH": "the hub decides who gets in",
    "JUPYTER_PREFER_ENV_PATH": "the hub decides who gets in",
}

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
# Control characters but tab and newline (certificates have lines); halves of surrogate pairs are no
# UTF-8.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_CURE = "Write one NAME=VALUE per line."


def parse_environment(value: Any) -> dict[str, str]:
    """Read NAME=VALUE lines or a mapping; blank lines and lines that begin with # count for
    nothing.

    Returns the variables sorted by name. Raises ``ValueError`` with the second half of a sentence.
    """
    pairs = list(_read_pairs(value))
    if len(pairs) > MAX_VARIABLES:
        raise ValueError(
            f"has {len(pairs)} variables, {MAX_VARIABLES} at most. Put the others into a file of"
            " the workspace."
        )
    variables: dict[str, str] = {}
    for place, name, text in pairs:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ValueError(
                f"has a name in {place} that is none: letters, digits and '_', no digit first."
                f" {_CURE}"
            )
        if name in variables:
            raise ValueError(f"has {name} twice. Keep one of them.")
        variables[name] = _check_value(name, text)
    if sum(len(name) + len(text.encode()) for name, text in variables.items()) > MAX_TOTAL:
        raise ValueError(
            f"is longer than {MAX_TOTAL // 1024} KiB in all. Put the rest into a file of the"
            " workspace."
        )
    for name in variables:
        if reason := explain_refusal(name):
            raise ValueError(f"may not set {name}: {reason}. Remove it.")
    return dict(sorted(variables.items()))


def explain_refusal(name: str) -> str | None:
    """Say why nobody may set a variable, or return None where it is up to the site."""
    return next(
        (
            reason
            for pattern, reason in ALWAYS_REFUSED.items()
            if fnmatchcase(name.upper(), pattern)
        ),
        None,
    )


def matches_any(name: str, patterns: Iterable[str]) -> bool:
    """Return True if a name matches one of a list of shell patterns."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _read_pairs(value: Any) -> Iterable[tuple[str, Any, Any]]:
    if isinstance(value, Mapping):
        for number, (name, text) in enumerate(value.items(), 1):
            yield f"entry {number}", name, text
        return
    if not isinstance(value, str):
        raise ValueError(f"is neither lines nor a mapping. {_CURE}")
    if len(value) > 2 * MAX_TOTAL:
        raise ValueError(
            f"is longer than {MAX_TOTAL // 1024} KiB in all. Put the rest into a file of the"
            " workspace."
        )
    # Not splitlines(), which also splits at characters that a value may hold.
    for number, line in enumerate(value.replace("\r\n", "\n").split("\n"), 1):
        line = line.strip(" \t\r")
        if not line or line.startswith("#"):
            continue
        name, separator, text = line.partition("=")
        if not separator:
            raise ValueError(f"has no '=' in line {number}. {_CURE}")
        yield f"line {number}", name.strip(" \t"), text


def _check_value(name: str, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"gives {name} something that is no text. {_CURE}")
    if not isinstance(value, str):
        # Very long integers cannot be printed, and NaN is nothing to hand on.
        if not abs(value) < 10**18:
            raise ValueError(f"gives {name} a number that is out of range. Write it as text.")
        value = str(value)
    if _UNPRINTABLE.search(value):
        raise ValueError(
            f"gives {name} control characters. Remove them, or encode the value as base64."
        )
    if len(value.encode()) > MAX_VALUE:
        raise ValueError(
            f"gives {name} more than {MAX_VALUE // 1024} KiB. Put it into a file of the workspace."
        )
    return value


Environment = Annotated[
    Mapping[str, str],
    BeforeValidator(parse_environment),
    AfterValidator(MappingProxyType),
    PlainSerializer(dict),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                {"type": "object", "additionalProperties": {"type": "string"}},
            ]
        }
    ),
]


class EnvironmentRule(StrictModel):
    """Decide which variables people may set."""

    allow: TextList | None = Field(
        default=None, description="Names that may be set; shell patterns."
    )
    deny: TextList | None = Field(
        default=None,
        description=(
            "Names that may not be set, also where `allow` names them. What is always refused stays"
            " refused."
        ),
    )


@dataclass(frozen=True, kw_only=True)
class EnvironmentOption(Option):
    """Variables. Their values may be secrets, and yet their owner sees them again."""

    kind: str = "lines"
    joint: str = "\n"

    @property
    def is_quotable(self) -> bool:
        """Whether a message may quote its value: no, it may be a secret."""
        return False

    def ask(self) -> Any:
        """Return a field that is empty where nothing is asked."""
        return Field(
            default_factory=dict, validate_default=True, description=self.description, repr=False
        )

    def choose(self, request: Request) -> tuple[Any, Reason]:
        """Check the names of the variables that were asked for."""
        asked: Mapping[str, str] = request.asked.get(self.name) or MappingProxyType({})
        allow, deny = request.settings["env.allow"], request.settings["env.deny"]
        for name in asked:
            if matches_any(name, deny.value):
                sentence = f"env may not set {name} here. Remove it."
                raise Refusal(self.name, sentence, deny.source)
            if not matches_any(name, allow.value):
                shown = ", ".join(allow.value[:20]) or "none"
                sentence = f"env may not set {name} here. Names that may be set: {shown}."
                raise Refusal(self.name, sentence, allow.source)
        return asked, Reason("as asked", allow.source) if asked else Reason("nothing asked")

    def write(self, value: Any) -> Any:
        """Return the variables, or None for none."""
        return dict(value) or None

    def describe(self, value: Any) -> str:
        """Write the names alone."""
        return ", ".join(value) or "none"

    def show_default(self, value: Any) -> str:
        """Write nothing: a default would be a secret."""
        return ""

    def make_variables(self, value: Any) -> Mapping[str, str]:
        """Return the variables themselves."""
        return value


ENVIRONMENT = EnvironmentOption(
    name="env",
    label="Environment variables",
    description="NAME=VALUE lines, or a mapping.",
    help="One NAME=VALUE on each line.",
)
