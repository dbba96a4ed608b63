"""Bars over days, as the parts of an SVG image. Pure: no I/O."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH, HEIGHT = 600.0, 120.0
GAP = 0.25  # of the room that a bar has


@dataclass(frozen=True)
class PlottedBar:
    """One bar: where it stands, and what a tooltip says."""

    x: float
    y: float
    width: float
    height: float
    title: str


@dataclass(frozen=True)
class Plot:
    """All bars of an image; ``top`` is what its upper edge stands for."""

    bars: tuple[PlottedBar, ...]
    top: str
    first: str
    last: str
    width: float = WIDTH
    height: float = HEIGHT

    def draw(self) -> Markup:
        """Write the bars as elements of SVG: a template takes far longer for a year of them."""
        return Markup("").join(_draw(bar, self.height) for bar in self.bars)


def plot_bars(points: Sequence[tuple[str, float]], unit: str) -> Plot | None:
    """Draw a bar for each label and amount; None where there is nothing to see."""
    top = _round_up(max((amount for _, amount in points), default=0.0))
    if not top:
        return None
    room = WIDTH / len(points)
    bars = []
    for number, (label, amount) in enumerate(points):
        height = round(amount / top * HEIGHT, 2)
        title = f"{label}: {write_amount(amount)} {unit}"
        x = round((number + GAP / 2) * room, 2)
        bars.append(
            PlottedBar(x, round(HEIGHT - height, 2), round(room * (1 - GAP), 2), height, title)
        )
    return Plot(tuple(bars), f"{write_amount(top)} {unit}", points[0][0], points[-1][0])


def _draw(bar: PlottedBar, height: float) -> Markup:
    column = f'x="{bar.x}" width="{bar.width}"'
    room = f'<rect {column} y="0" height="{height}" class="mlhub-plot-room"/>'
    shown = f'<rect {column} y="{bar.y}" height="{bar.height}"/>' if bar.height else ""
    return Markup(f"<g><title>{escape(bar.title)}</title>{room}{shown}</g>")  # noqa: S704


def write_amount(amount: float) -> str:
    """Write an amount for people: two digits after the point below ten, one below a hundred."""
    digits = 2 if amount < 10 else 1 if amount < 100 else 0
    text = f"{amount:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _round_up(amount: float) -> float:
    """Return 1, 2 or 5 times a power of ten that is no less."""
    if amount <= 0:
        return 0.0
    power = 10.0 ** math.floor(math.log10(amount))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= amount * (1 - 1e-9))
