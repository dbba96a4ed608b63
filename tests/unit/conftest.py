"""What several unit tests begin with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from jupyterhub import orm
from sqlalchemy.orm import Session


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Session]:
    """Return a session at an empty database of a hub's."""
    session = orm.new_session_factory(f"sqlite:///{tmp_path}/hub.sqlite")()
    yield session
    session.close()
