"""What each hub would do alike at its start, done once: imported last by the process whose forks
the hubs are (forked.py).
"""

from __future__ import annotations

import contextlib
import gc
import logging
from importlib.metadata import entry_points

from jupyterhub import orm

# JupyterHub imports all that is installed to sign in with and to run workspaces in.
for group in ("jupyterhub.authenticators", "jupyterhub.spawners"):
    for each in entry_points(group=group):
        with contextlib.suppress(ImportError):  # some need what is not installed
            each.load()
# The first database that is opened costs more than the others: mappers, migrations.
logging.disable()
database = orm.new_session_factory("sqlite:///:memory:")()
database.query(orm.User).first()
database.close()
logging.disable(logging.NOTSET)
# Nothing of this is garbage: no fork looks through it again, or copies it by doing so.
gc.collect()
gc.freeze()
