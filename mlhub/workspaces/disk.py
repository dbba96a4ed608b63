"""What workspaces take of the disk, measured now and then.

Invariants: nobody waits for a measurement, and measuring takes at most a twentieth of the time.
What is known is what was measured last; where the place cannot tell nothing is known, and where it
does not answer what was known stays.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from mlhub.errors import MLHubError
from mlhub.workspaces.spawner import make_nobodys

FIRST_SECONDS, SOON_SECONDS = 60.0, 60.0
RESTING_SHARE = 20  # of the time that a measurement took
log = logging.getLogger(__name__)


async def start_measuring(app: Any) -> None:
    """Begin to measure, where the place can tell and the site wants it; ``app`` is JupyterHub."""
    workspace: Any = make_nobodys(app)
    if workspace is not None and workspace.measure_disk_seconds:
        every = float(workspace.measure_disk_seconds)
        app.disk_measuring = asyncio.create_task(measure(workspace, every))


async def measure(workspace: Any, every: float) -> None:
    """Measure for as long as the hub runs, or until it turns out that the place cannot tell."""
    await asyncio.sleep(min(FIRST_SECONDS, every))
    record = workspace.site.disk
    while True:
        began = time.monotonic()
        try:
            taken = await workspace.backend.measure_disk()
            if taken is None:
                return
            record.note(taken, workspace.site.clock())
        except MLHubError as error:
            log.info("What workspaces take of the disk is not known anew: %s", error)
        took = time.monotonic() - began
        await record.wait_until_due(
            at_most=max(every, RESTING_SHARE * took),
            at_least=max(min(SOON_SECONDS, every), RESTING_SHARE * took),
        )
