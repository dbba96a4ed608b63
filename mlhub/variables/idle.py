"""When workspaces that nobody uses are stopped."""

from __future__ import annotations

from pydantic import BaseModel, Field


class Idle(BaseModel):
    """When workspaces that nobody uses are stopped."""

    mlhub_cull_enabled: bool = Field(
        False,
        description=(
            "Stop workspaces that nobody uses; their data stays. See [idle "
            "workspaces](../howto/idle-workspaces.md). The chart's `cull.enabled`."
        ),
    )
    mlhub_cull_timeout: int = Field(
        3600,
        ge=60,
        description=(
            "Seconds without a request, an open WebSocket, an SSH session or a word of a kernel "
            "after which a workspace is stopped. The chart's `cull.timeout`."
        ),
    )
    mlhub_cull_warning: int = Field(
        900,
        ge=0,
        description=(
            "Seconds before such a stop from which its owner is warned, and may keep the workspace;"
            " half of the time that it may go unused at the most. `0` warns nobody. The chart's"
            " `cull.warning`."
        ),
    )
    mlhub_cull_every: int = Field(
        600,
        ge=10,
        description="Seconds between two looks for such workspaces. The chart's `cull.every`.",
    )
    mlhub_cull_max_age: int = Field(
        0,
        ge=0,
        description=(
            "Seconds after its start when a workspace is stopped although it is used; `0` is never."
            " The chart's `cull.maxAge`."
        ),
    )
