"""Read single values as people write them: cores, sizes, days, GPUs, flags, image references. Pure:
no I/O.

Invariants: whatever comes in (JSON of a REST call, text of a form, YAML), the result is a checked
value or a ``ValueError`` whose text is the second half of a sentence, such as "is not a number.
Write e.g. 2." Nothing is read by rounding up, and no input makes reading slow: lengths are checked
before anything else.

Sizes count in powers of 1024 as Docker and JupyterHub do, so ``G``, ``GB`` and ``Gi`` are one and
the same. Kubernetes tells them apart: its quantities have a reader of their own.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from decimal import ROUND_FLOOR, Decimal
from typing import Any

from mlhub.texts import Text

MEBIBYTE = 2**20
GIBIBYTE = 2**30
ALL_GPUS = ("all",)
NEVER = 0.0

_MAX_TEXT = 64
_MAX_CORES = 10_000
_MAX_BYTES = 2**50
_MAX_DAYS = 36_500
_MAX_COUNT = 1_000_000
_MAX_GPUS = 64
_MAX_IMAGE = 384  # 255 for the name, the rest for tag and digest

_NUMBER = re.compile(r"(\d{1,18}(?:\.\d{0,9})?|\.\d{1,9})", re.ASCII)
_SIZE = re.compile(_NUMBER.pattern + r"[ ]?(?:([kmgt])(?:i?b|i)?|(b))?", re.IGNORECASE | re.ASCII)
_POWERS = {"k": 2**10, "m": MEBIBYTE, "g": GIBIBYTE, "t": 2**40}
_GPU = re.compile(r"(?:0|[1-9]\d{0,2}|(?:GPU|MIG)-[0-9A-Za-z][0-9A-Za-z/-]{3,90})", re.ASCII)
_FLAGS = {
    "true": True,
    "on": True,
    "yes": True,
    "1": True,
    "false": False,
    "off": False,
    "no": False,
    "0": False,
}

# The grammar of github.com/distribution/reference, without its case of an IPv6 address.
_PATH = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_IMAGE = re.compile(
    rf"(?:{_LABEL}(?:\.{_LABEL})*(?::[0-9]{{1,5}})?/)?{_PATH}(?:/{_PATH})*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)

# https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
_QUANTITY = re.compile(
    r"([+-]?(?:\d{1,64}(?:\.\d{0,64})?|\.\d{1,64}))"
    r"(?:([numkMGTPE]|[KMGTPE]i)|[eE]([+-]?\d{1,3}))?",
    re.ASCII,
)
_QUANTITY_UNITS = {unit: Decimal(1000) ** power for power, unit in enumerate("num kMGTPE", -3)} | {
    f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", 1)
}


def is_blank(value: Any) -> bool:
    """Return True if a value says nothing: absent, or text of spaces only."""
    return value is None or (isinstance(value, str) and not _strip(value))


def parse_cores(value: Any) -> float:
    """Read CPU cores: ``2``, ``0.5``, or thousandths as Kubernetes writes them, ``500m``."""
    cure = Text("Write e.g. 2, 0.5 or 500m.")
    milli = isinstance(value, str) and len(value) <= _MAX_TEXT and _strip(value).endswith("m")
    number = read_number(_strip(value)[:-1] if milli else value, cure) / (1000 if milli else 1)
    cores = _floor(number, 3)
    if not Decimal("0.01") <= cores <= _MAX_CORES:
        raise ValueError(
            Text("is out of range: 0.01 to %(most)s cores. %(cure)s", most=_MAX_CORES, cure=cure)
        )
    return float(cores)


def parse_size(value: Any) -> int:
    """Read bytes: ``4`` and ``4G`` are 4 GiB, ``512M``; a bare number from 1048576 up is bytes. Cut
    to whole MiB.
    """
    cure = Text("Write GB as a number such as 4 or 0.5, or with a unit: 512M, 4G.")
    factor = GIBIBYTE
    if isinstance(value, str):
        text = _strip(value)
        match = _SIZE.fullmatch(text) if len(text) <= _MAX_TEXT else None
        if not match:
            raise ValueError(Text("is not a size. %(cure)s", cure=cure))
        number, unit = Decimal(match[1]), (match[2] or "").lower()
        factor = _POWERS[unit] if unit else 1 if match[3] else factor
        bare = not unit and not match[3]
    else:
        number, bare = read_number(value, cure), True
    if bare and number >= MEBIBYTE:
        factor = 1
    size = int(number * factor) // MEBIBYTE * MEBIBYTE
    if not MEBIBYTE <= size < _MAX_BYTES:
        raise ValueError(Text("is out of range: 1M to 1023T. %(cure)s", cure=cure))
    return size


def parse_memory(value: Any) -> int:
    """Read the memory of a workspace: a size with which a process can start at all."""
    size = parse_size(value)
    if size < 16 * MEBIBYTE:
        raise ValueError(Text("is too small for any workspace. Write at least 16M."))
    return size


def parse_days(value: Any) -> float:
    """Read days: ``7``, ``0.5``; ``0`` means for ever, as in the original."""
    cure = Text("Write e.g. 7 or 0.5; 0 means for ever.")
    number = read_number(value, cure)
    days = _floor(number, 3)
    # Rounded down to 0 a moment would become eternity.
    if not 0 <= days <= _MAX_DAYS or (number and not days):
        raise ValueError(
            Text(
                "is out of range: 0.001 to %(most)s days, or 0 for ever. %(cure)s",
                most=_MAX_DAYS,
                cure=cure,
            )
        )
    return float(days)


def parse_count(value: Any) -> int:
    """Read a whole number from 0 up."""
    number = read_number(value, Text("Write e.g. 3."))
    if number != number.to_integral_value() or not 0 <= number <= _MAX_COUNT:
        raise ValueError(
            Text("is not a whole number from 0 to %(most)s. Write e.g. 3.", most=_MAX_COUNT)
        )
    return int(number)


def parse_port(value: Any) -> int:
    """Read a TCP port."""
    number = parse_count(value)
    if not 1 <= number <= 65535:
        raise ValueError("is not a port. Write a number from 1 to 65535.")
    return number


def parse_id(value: Any) -> int:
    """Read the number of a user or group that is not root."""
    number = parse_count(value)
    if not 1 <= number < 2**31:
        raise ValueError("is not the number of a user or group other than root. Write e.g. 1000.")
    return number


def parse_gpus(value: Any) -> tuple[str, ...]:
    """Read GPUs: ``all``, ``none``, or indices and UUIDs, as text with commas or as a list."""
    cure = Text("Write all, none, indices such as 0,1 or UUIDs such as GPU-1b2c…")
    parts: list[Any] = (
        list(value)
        if isinstance(value, Sequence) and not isinstance(value, str | bytes)
        else [value]
    )
    words: list[str] = []
    if len(parts) > _MAX_GPUS:
        raise ValueError(Text("names more than %(most)s GPUs. %(cure)s", most=_MAX_GPUS, cure=cure))
    for part in parts:
        if (
            isinstance(part, bool)
            or not isinstance(part, int | str)
            or (isinstance(part, int) and not 0 <= part < 1000)
        ):
            raise ValueError(Text("does not name GPUs. %(cure)s", cure=cure))
        text = str(part)
        if len(text) > _MAX_GPUS * 100:
            raise ValueError(Text("is too long. %(cure)s", cure=cure))
        words += [word for word in re.split(r"[,\t\r\n ]+", text) if word]
    if [word.lower() for word in words] in (["all"], ["none"], []):
        return ALL_GPUS if words and words[0].lower() == "all" else ()
    if len(words) > _MAX_GPUS or not all(_GPU.fullmatch(word) for word in words):
        raise ValueError(Text("does not name GPUs. %(cure)s", cure=cure))
    return tuple(dict.fromkeys(words))


def parse_flag(value: Any) -> bool:
    """Read yes or no: JSON's true and false, a form's ``on``."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int | str) and value in (0, 1):
        return bool(value)
    word = _strip(value).lower() if isinstance(value, str) and len(value) <= _MAX_TEXT else ""
    if word not in _FLAGS:
        raise ValueError(Text("is neither true nor false. Write true or false."))
    return _FLAGS[word]


def parse_image(value: Any) -> str:
    """Read an image reference, ``[registry[:port]/]path[:tag][@sha256:…]``."""
    cure = Text("Write e.g. quay.io/jupyter/scipy-notebook:latest.")
    if not isinstance(value, str):
        raise ValueError(Text("is not the name of an image. %(cure)s", cure=cure))
    text = _strip(value)
    if len(text) > _MAX_IMAGE or not _IMAGE.fullmatch(text):
        raise ValueError(Text("is not the name of an image. %(cure)s", cure=cure))
    return text


def parse_quantity(value: Any) -> Decimal | None:
    """Read a quantity as Kubernetes writes it, exactly; None for what is none."""
    match = _QUANTITY.fullmatch(str(value))
    if match is None:
        return None
    number, unit, exponent = match.groups()
    return Decimal(number) * (_QUANTITY_UNITS[unit] if unit else Decimal(10) ** int(exponent or 0))


def read_number(value: Any, cure: str) -> Decimal:
    """Read a number without sign and exponent; raise ``ValueError`` ending in the cure."""
    if isinstance(value, str):
        text = _strip(value)
        match = _NUMBER.fullmatch(text) if len(text) <= _MAX_TEXT else None
        if match:
            return Decimal(text)
    elif isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 10**18:
        # The comparison has already refused NaN, infinity and integers too long to print.
        return Decimal(repr(value))
    raise ValueError(Text("is not a number, or out of range. %(cure)s", cure=cure))


def format_size(size: float) -> str:
    """Write bytes as ``parse_size`` reads them back."""
    if math.isinf(size):
        return "unlimited"
    for unit in "tgm":
        if size >= _POWERS[unit] and size % _POWERS[unit] == 0:
            return f"{int(size // _POWERS[unit])}{unit.upper()}"
    return f"{int(size)}B"


def format_number(number: float) -> str:
    """Write a number without a needless ``.0``."""
    return (
        "unlimited"
        if math.isinf(number)
        else str(int(number))
        if number == int(number)
        else str(number)
    )


def format_gpus(gpus: Sequence[str]) -> str:
    """Write GPUs as ``parse_gpus`` reads them back."""
    return ",".join(gpus) or "none"


def show(value: Any) -> str:
    """Show a value that was refused: short, on one line, whatever it is."""
    if isinstance(value, bool | None):
        return str(value)
    if isinstance(value, str):
        return (
            repr(value) if len(value) <= _MAX_TEXT else f"{value[:40]!r}… ({len(value)} characters)"
        )
    if isinstance(value, int):
        # Python refuses to print very long integers.
        return str(value) if abs(value) < 10**30 else "a number of many digits"
    if isinstance(value, float):
        return repr(value)
    return {"dict": "a mapping", "list": "a list", "tuple": "a list"}.get(
        type(value).__name__, f"a {type(value).__name__}"
    )


def _floor(number: Decimal, digits: int) -> Decimal:
    return number.quantize(Decimal(1).scaleb(-digits), rounding=ROUND_FLOOR)


def _strip(text: str) -> str:
    # Not str.strip(), which also takes control characters and the like away.
    return text.strip(" \t\r\n")
