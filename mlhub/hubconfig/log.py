"""What the hub's log is spared: a person's typing error is one line, not a traceback."""

from __future__ import annotations

import logging

from jupyterhub.spawner import SpawnException


class RefusalFilter(logging.Filter):
    """Write the sentence of a refused start in place of the traceback that JupyterHub adds to it."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the record, and keep it."""
        error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
        if isinstance(error, SpawnException):
            record.msg, record.args = f"{record.getMessage()}: {getattr(error, 'jupyterhub_message', error)}", ()
            record.exc_info = None
        return True
