"""How a port of a workspace is reached: directly, or, where the program listens on 127.0.0.1 alone,
through the relay in the workspace, which also starts declared tools.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mlhub.backends.readiness import is_listening
from mlhub.backends.relay import ANSWER_SECONDS, ask
from mlhub.ssh.relay import PORT, make_question, make_start, read_ports
from mlhub.workspaces.port import Address

DIRECT = "direct"
# A relay is asked to start a tool at most this often, and ever more seldom where it dies within
# CALM_SECONDS; it starts none whose command still runs.
START_SECONDS = 5.0
LONGEST_START_SECONDS = 60.0
CALM_SECONDS = 60.0
# Within it a relay says which key it takes. The first request to a workspace waits for that; those
# after it go by what was found, which is looked at again beside them, until it is old.
LOOK_SECONDS = 1.0
FRESH_SECONDS = 5.0
OLD_SECONDS = 60.0

Clock = Callable[[], float]


@dataclass(frozen=True)
class Start:
    """When a program was started, and how long it is left alone then."""

    at: float
    pause: float


@dataclass
class Look:
    """The question which key a relay takes; ``key`` is what was found the last time."""

    task: asyncio.Task[str]
    asked_at: float
    key: str = ""


class Ways:
    """Find the ways to the ports of workspaces; remember what was started, and the relays' keys."""

    def __init__(self, relay_port: int = PORT, clock: Clock = time.monotonic) -> None:
        self.relay_port, self.clock = relay_port, clock
        self._started: dict[Address, Start] = {}
        self._looks: dict[tuple[Address, tuple[str, ...]], Look] = {}

    async def choose(
        self, host: str | None, port: int, keys: Sequence[str], command: str = ""
    ) -> str:
        """Return "direct"; or, with the key that the relay takes behind it, "relay:" where only the
        relay may reach a program, "starting:" where the relay was asked to start one by this
        command.
        """
        if not host or not keys or await is_listening(Address(host, port)):
            return DIRECT
        relay = Address(host, self.relay_port)
        if not await is_listening(relay):
            return DIRECT
        key = await self._find_key(relay, tuple(keys))
        if not command:
            return f"relay:{key}"
        if self._is_due(Address(host, port)):
            await ask(relay, make_start(port, key, command))
        return f"starting:{key}"

    async def list_ports(self, host: str, keys: Sequence[str]) -> list[int]:
        """List the ports of a workspace at which anything listens; none where it has no relay."""
        if not keys:
            return []
        _, answer = await _ask_by(Address(host, self.relay_port), keys, ANSWER_SECONDS)
        return read_ports(answer)

    async def _find_key(self, relay: Address, keys: tuple[str, ...]) -> str:
        now = self.clock()
        look = self._looks.get((relay, keys))
        if look is None or now - look.asked_at >= OLD_SECONDS:
            looks = self._looks.items()
            self._looks = {each: it for each, it in looks if now - it.asked_at < OLD_SECONDS}
            look = self._looks[relay, keys] = Look(_look(relay, keys), now)
        elif look.task.done():
            look.key = look.task.result()
            if now - look.asked_at >= FRESH_SECONDS:
                look.task, look.asked_at = _look(relay, keys), now
        return look.key or await asyncio.shield(look.task)

    def _is_due(self, address: Address) -> bool:
        now = self.clock()
        starts = self._started.items()
        self._started = {each: it for each, it in starts if now - it.at < it.pause + CALM_SECONDS}
        before = self._started.get(address)
        if before is not None and now - before.at < before.pause:
            return False
        pause = START_SECONDS if before is None else min(2 * before.pause, LONGEST_START_SECONDS)
        self._started[address] = Start(now, pause)
        return True


def find_ways(settings: dict[str, Any]) -> Ways:
    """Return the ways of this hub, which are kept among its settings."""
    found: Ways = settings.setdefault("mlhub_ways", Ways())
    return found


def _look(relay: Address, keys: Sequence[str]) -> asyncio.Task[str]:
    async def look() -> str:
        return (await _ask_by(relay, keys, LOOK_SECONDS))[0]

    return asyncio.get_running_loop().create_task(look())


async def _ask_by(relay: Address, keys: Sequence[str], seconds: float) -> tuple[str, bytes]:
    """Ask a relay where anything listens; return the key that it takes, the first one where it
    takes none in time, and what it says: its own port at least to who has the key, nothing else.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            for key in keys:
                if answer := await ask(relay, make_question(key)):
                    return key, answer
    return keys[0], b""
