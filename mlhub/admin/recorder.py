"""Write into the record what requests do, as they end."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from mlhub.admin.events import read_event
from mlhub.admin.record import FILE, Record
from mlhub.audit import Allowance
from mlhub.settings import Settings

# What strangers cause, such as wrong passwords; the lock-out is long in force by then.
STRANGERS_PER_MINUTE = 60


class Recorder:
    """Note each request that changes something; ``app`` is JupyterHub."""

    def __init__(self, app: Any, directory: Path) -> None:
        self.app = app
        self.record = Record(directory / FILE, time.time)
        self._strangers = Allowance(STRANGERS_PER_MINUTE, time.time)
        settings = app.tornado_application.settings
        self._write_log = settings["log_function"]
        settings["log_function"] = self.note

    def note(self, handler: Any) -> None:
        """Write the hub's log as ever, and the record."""
        self._write_log(handler)
        try:
            self._note(handler)
        except Exception:
            # A request was answered by now, and a record that cannot be written must not undo that.
            self.app.log.exception("The record of who did what cannot be written")

    def _note(self, handler: Any) -> None:
        event = read_event(handler, self.app.hub_prefix)
        if event is None:
            return
        is_stranger = not (event.by or event.service)
        if is_stranger and not self._strangers.take():
            return
        self.record.write(
            event.name,
            by=event.by,
            service=event.service,
            about=event.about,
            server=event.server,
            path=event.path,
            status=handler.get_status(),
            source=handler.request.remote_ip,
            left_out=self._strangers.take_suppressed(),
            **event.told,
        )


async def open_record(app: Any) -> None:
    """Begin to record."""
    recorder = Recorder(app, Settings.load().data_volume_container)
    app.recorder = recorder
    recorder.record.write("the hub starts")
    app.log.info(
        "The record of who did what goes on at %s (mlhub audit verify).", recorder.record.head
    )
