"""Ask the hub's database beside the event loop, in a session of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy.pool import StaticPool

Answer = TypeVar("Answer")


async def ask_beside(factory: Callable[[], Any], ask: Callable[[Any], Answer]) -> Answer:
    """Call ``ask`` with a new session of JupyterHub's ``factory``, in a thread."""

    def call() -> Answer:
        with factory() as session:
            return ask(session)

    with factory() as session:
        is_shared = isinstance(session.get_bind().pool, StaticPool)
    if is_shared:  # a database in memory has one connection, which is the hub's
        return call()
    return await asyncio.to_thread(call)
