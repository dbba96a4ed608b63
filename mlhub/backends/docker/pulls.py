"""One pull of an image: what the engine tells of it, added up, and told to all who wait for it.

Invariants: the percentage never goes back, and whoever comes later sees at once how far the pull
is. ``PullState`` is pure.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Listener = Callable[[float, str], None]

INTERVAL_SECONDS = 0.5  # without at least one percent more, nobody is told more often
# Of a layer's work; unpacking a byte takes less time than fetching it through a usual network.
DOWNLOAD_SHARE = 0.75
_BEGIN = frozenset({"Pulling fs layer", "Waiting"})


@dataclass
class Layer:
    """How far one layer is; sizes in bytes, 0 where the engine has not told yet."""

    total: int = 0
    downloaded: int = 0
    unpacked: int = 0
    is_downloaded: bool = False
    is_done: bool = False

    @property
    def share(self) -> float:
        """Part of this layer's work that is done, from 0 to 1."""
        if self.is_done:
            return 1.0
        downloaded = 1.0 if self.is_downloaded else self._part(self.downloaded)
        return DOWNLOAD_SHARE * downloaded + (1 - DOWNLOAD_SHARE) * self._part(self.unpacked)

    def _part(self, amount: int) -> float:
        return min(1.0, amount / self.total) if self.total else 0.0


@dataclass
class PullState:
    """Add up the events of one pull."""

    image: str
    layers: dict[str, Layer] = field(default_factory=dict)
    percent: float = 0.0

    def add(self, event: Mapping[str, Any]) -> None:
        """Take one event of the engine."""
        status, name = str(event.get("status", "")), event.get("id")
        if not name or status == "Already exists":
            return
        layer = self.layers.get(name)
        if layer is None:
            if status not in _BEGIN and status not in ("Downloading", "Extracting"):
                return  # "Pulling from …" carries the tag as its id
            layer = self.layers[name] = Layer()
        self._read(layer, status, event.get("progressDetail") or {})
        # Sizes of later layers are not known at first: what they turn out to be must not take
        # anything back.
        self.percent = max(self.percent, self._measure())

    @property
    def message(self) -> str:
        """Say how far the pull is."""
        if not self.layers:
            return f"Pulling {self.image}"
        done = sum(layer.is_done for layer in self.layers.values())
        known = [layer for layer in self.layers.values() if layer.total]
        loaded = sum(
            layer.total if layer.is_downloaded else min(layer.downloaded, layer.total)
            for layer in known
        )
        more = "" if len(known) == len(self.layers) else " or more"
        size = (
            f", {_show(loaded)} of {_show(sum(layer.total for layer in known))}{more}"
            if known
            else ""
        )
        return f"Pulling {self.image}: {done} of {len(self.layers)} layers{size}"

    def _read(self, layer: Layer, status: str, detail: Mapping[str, Any]) -> None:
        total, current = detail.get("total"), detail.get("current") or 0
        if status == "Downloading":
            layer.total = max(layer.total, total or 0)
            layer.downloaded = current
        elif status == "Extracting":
            layer.is_downloaded = True
            layer.total = max(layer.total, total or 0)
            layer.unpacked = current if total else 0  # newer engines tell seconds here
        elif status in ("Verifying Checksum", "Download complete"):
            layer.is_downloaded = True
        elif status == "Pull complete":
            layer.is_downloaded = layer.is_done = True

    def _measure(self) -> float:
        totals = [layer.total for layer in self.layers.values() if layer.total]
        guess = sum(totals) / len(totals) if totals else 1.0
        weights = [(layer.total or guess, layer.share) for layer in self.layers.values()]
        return (
            100
            * sum(weight * share for weight, share in weights)
            / sum(weight for weight, _ in weights)
        )


class Pull:
    """Tell all listeners of one pull how far it is."""

    def __init__(self, image: str) -> None:
        """Begin at nothing."""
        self.state = PullState(image)
        self.task: asyncio.Task[None] | None = None
        self._listeners: list[Listener] = []
        self._told: tuple[float, str] = (0.0, self.state.message)
        self._told_at = 0.0

    def listen(self, listener: Listener) -> None:
        """Add a listener, which is told at once what was told last."""
        self._listeners.append(listener)
        listener(*self._told)

    def feed(self, event: Mapping[str, Any]) -> None:
        """Take one event, in the event loop, and tell the listeners where it makes enough of a
        difference.
        """
        self.state.add(event)
        now = asyncio.get_running_loop().time()
        report = (
            min(99.0, self.state.percent),
            self.state.message,
        )  # the last percent is that the engine says so
        is_worth_it = report[0] - self._told[0] >= 1 or now - self._told_at >= INTERVAL_SECONDS
        if report != self._told and is_worth_it:
            self._tell(report, now)

    def finish(self) -> None:
        """Tell the listeners that all is here."""
        self._tell((100.0, f"{self.state.image} is here"), 0.0)

    def _tell(self, report: tuple[float, str], now: float) -> None:
        self._told, self._told_at = report, now
        for listener in self._listeners:
            listener(*report)


def _show(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
