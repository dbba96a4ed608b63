"""Numbers as Kubernetes writes them. Pure: no I/O.

Source: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
"""

from __future__ import annotations

import re
from decimal import Decimal

_QUANTITY = re.compile(r"([+-]?(?:\d{1,64}(?:\.\d{0,64})?|\.\d{1,64}))(?:([numkMGTPE]|[KMGTPE]i)|[eE]([+-]?\d{1,3}))?\Z", re.ASCII)
_FACTORS = {unit: Decimal(1000) ** power for unit, power in {"n": -3, "u": -2, "m": -1, "k": 1}.items()}
_FACTORS |= {unit: Decimal(1000) ** power for power, unit in enumerate("MGTPE", 2)}
_FACTORS |= {f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", 1)}


def parse_quantity(value: object) -> Decimal | None:
    """Read a quantity, exactly; None for what is none."""
    match = _QUANTITY.match(str(value))
    if match is None:
        return None
    return Decimal(match[1]) * (_FACTORS[match[2]] if match[2] else Decimal(10) ** int(match[3] or 0))


def read_quantity(value: object) -> float:
    """Read a quantity; 0 for what is none."""
    return float(parse_quantity(value) or 0)
