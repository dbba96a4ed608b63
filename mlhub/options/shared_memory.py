"""Shared memory (``/dev/shm``), in bytes. Pure: no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import BeforeValidator, Field, WithJsonSchema

from mlhub import quantities
from mlhub.options.amount import LIMIT_SCHEMA, NUMBER_OR_TEXT, LimitsRule, SizeAmount, or_unlimited
from mlhub.options.memory import MEMORY
from mlhub.options.option import Refusal, Request, Setting, Source

Size = Annotated[
    int, BeforeValidator(quantities.parse_size), WithJsonSchema({"anyOf": NUMBER_OR_TEXT})
]
SizeLimit = Annotated[float, BeforeValidator(or_unlimited(quantities.parse_size)), LIMIT_SCHEMA]


class SharedMemoryRule(LimitsRule):
    """Limit shared memory."""

    default: Size | None = Field(default=None, description="Size of `/dev/shm` when nobody asks.")
    max: SizeLimit | None = Field(
        default=None,
        description="Largest `/dev/shm`. It is never larger than the workspace's memory.",
    )


@dataclass(frozen=True, kw_only=True)
class SharedMemoryOption(SizeAmount):
    """A size that counts as memory of the workspace."""

    def find_bound(self, request: Request) -> Setting | None:
        """Return the workspace's own memory."""
        try:
            memory, _ = MEMORY.choose(request)
        except Refusal:
            return None
        return Setting(memory, Source("the workspace's own memory")) if memory else None


SHARED_MEMORY = SharedMemoryOption(
    name="shm_size",
    label="Shared memory",
    description="Shared memory (`/dev/shm`), written like `mem_limit`.",
    help="Size of /dev/shm, written like memory, of which it is a part.",
)
