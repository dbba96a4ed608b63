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
from mlhub.texts import Text

MAX_VARIABLES = 100
MAX_VALUE = 8 * 1024
MAX_TOTAL = 32 * 1024

# Nobody may set these, in any case of letters, whatever the policy says.
ALWAYS_REFUSED: Mapping[str, str] = {
    # what the hub tells a workspace about itself, and believes of it
    "JUPYTERHUB_*": Text("the hub sets it"),
    "JPY_*": Text("the hub sets it"),
    "MLHUB_*": Text("the hub sets it"),
    "MEM_LIMIT": Text("the hub sets it"),
    "MEM_GUARANTEE": Text("the hub sets it"),
    "CPU_LIMIT": Text("the hub sets it"),
    "CPU_GUARANTEE": Text("the hub sets it"),
    "SSH_JUMPHOST_TARGET": Text("the hub sets it"),
    "AUTHENTICATE_VIA_JUPYTER": Text("the hub sets it"),
    "KUBERNETES_*": Text("the cluster sets it"),
    "HOSTNAME": Text("the engine sets it"),
    # what container runtimes read as a wish for devices
    "NVIDIA_*": Text("it would reach past the choice of GPUs"),
    "AMD_VISIBLE_DEVICES": Text("it would reach past the choice of GPUs"),
    "ASCEND_*": Text("it would reach past the choice of GPUs"),
    "HABANA_*": Text("it would reach past the choice of GPUs"),
    "MTHREADS_*": Text("it would reach past the choice of GPUs"),
    # what decides which program or library runs, before the workspace's own checks do
    "LD_*": Text("it would change which programs run"),
    "GCONV_PATH": Text("it would change which programs run"),
    "GLIBC_TUNABLES": Text("it would change which programs run"),
    "PATH": Text("it would change which programs run"),
    "PYTHONPATH": Text("it would change which programs run"),
    "PYTHONHOME": Text("it would change which programs run"),
    "PYTHONSTARTUP": Text("it would change which programs run"),
    "PYTHONINSPECT": Text("it would change which programs run"),
    "NODE_OPTIONS": Text("it would change which programs run"),
    "NODE_PATH": Text("it would change which programs run"),
    "PERL5OPT": Text("it would change which programs run"),
    "PERL5LIB": Text("it would change which programs run"),
    "RUBYOPT": Text("it would change which programs run"),
    "BASH_ENV": Text("it would change which programs run"),
    "BASH_FUNC_*": Text("it would change which programs run"),
    "ENV": Text("it would change which programs run"),
    "IFS": Text("it would change which programs run"),
    "SHELL": Text("it would change which programs run"),
    "HOME": Text("the image sets it"),
    "USER": Text("the image sets it"),
    "LOGNAME": Text("the image sets it"),
    # what takes Jupyter's own sign-in away or changes where it reads its configuration
    "JUPYTER_TOKEN": Text("the hub decides who gets in"),
    "JUPYTER_CONFIG_DIR": Text("the hub decides who gets in"),
    "JUPYTER_CONFIG_PATH": Text("the hub decides who gets in"),
    "JUPYTER_PREFER_ENV_PATH": Text("the hub decides who gets in"),
}

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
# Control characters but tab and newline (certificates have lines); halves of surrogate pairs are no
# UTF-8.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_TOO_LONG = Text(
    "is longer than %(most)s KiB in all. Put the rest into a file of the workspace.",
    most=MAX_TOTAL // 1024,
)
_CURE = Text("Write one NAME=VALUE per line.")


def parse_environment(value: Any) -> dict[str, str]:
    """Read NAME=VALUE lines or a mapping; blank lines and lines that begin with # count for
    nothing.

    Returns the variables sorted by name. Raises ``ValueError`` with the second half of a sentence.
    """
    pairs = list(_read_pairs(value))
    if len(pairs) > MAX_VARIABLES:
        raise ValueError(
            Text(
                "has %(number)s variables, %(most)s at most. Put the others"
                " into a file of the workspace.",
                number=len(pairs),
                most=MAX_VARIABLES,
            )
        )
    variables: dict[str, str] = {}
    for place, name, text in pairs:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ValueError(
                Text(
                    "has a name in %(place)s that is none: letters, digits and '_', no"
                    " digit first. %(cure)s",
                    place=place,
                    cure=_CURE,
                )
            )
        if name in variables:
            raise ValueError(Text("has %(name)s twice. Keep one of them.", name=name))
        variables[name] = _check_value(name, text)
    if sum(len(name) + len(text.encode()) for name, text in variables.items()) > MAX_TOTAL:
        raise ValueError(_TOO_LONG)
    for name in variables:
        if reason := explain_refusal(name):
            raise ValueError(
                Text("may not set %(name)s: %(reason)s. Remove it.", name=name, reason=reason)
            )
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
            yield Text("entry %(number)s", number=number), name, text
        return
    if not isinstance(value, str):
        raise ValueError(Text("is neither lines nor a mapping. %(cure)s", cure=_CURE))
    if len(value) > 2 * MAX_TOTAL:
        raise ValueError(_TOO_LONG)
    # Not splitlines(), which also splits at characters that a value may hold.
    for number, line in enumerate(value.replace("\r\n", "\n").split("\n"), 1):
        line = line.strip(" \t\r")
        if not line or line.startswith("#"):
            continue
        name, separator, text = line.partition("=")
        if not separator:
            raise ValueError(
                Text("has no '=' in line %(number)s. %(cure)s", number=number, cure=_CURE)
            )
        yield Text("line %(number)s", number=number), name.strip(" \t"), text


def _check_value(name: str, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(
            Text("gives %(name)s something that is no text. %(cure)s", name=name, cure=_CURE)
        )
    if not isinstance(value, str):
        # Very long integers cannot be printed, and NaN is nothing to hand on.
        if not abs(value) < 10**18:
            raise ValueError(
                Text("gives %(name)s a number that is out of range. Write it as text.", name=name)
            )
        value = str(value)
    if _UNPRINTABLE.search(value):
        raise ValueError(
            Text(
                "gives %(name)s control characters. Remove them, or encode the value as base64.",
                name=name,
            )
        )
    if len(value.encode()) > MAX_VALUE:
        raise ValueError(
            Text(
                "gives %(name)s more than %(most)s KiB. Put it into a file of the workspace.",
                name=name,
                most=MAX_VALUE // 1024,
            )
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
                sentence = Text("env may not set %(name)s here. Remove it.", name=name)
                raise Refusal(self.name, sentence, deny.source)
            if not matches_any(name, allow.value):
                shown = ", ".join(allow.value[:20]) or Text("none")
                sentence = Text(
                    "env may not set %(name)s here. Names that may be set: %(shown)s.",
                    name=name,
                    shown=shown,
                )
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
