"""A place in memory where workspaces run, for tests of everything above the backends.

Invariants: it keeps the contract of ``mlhub.workspaces.port`` (tests/contract), and each workspace
is a real server on loopback addresses of its own ports, so a real hub and proxy can reach it.
Nothing leaves the process, and all is gone with it.

Images with a meaning: ``fake/missing`` cannot be pulled, ``fake/dies`` ends before it answers,
``fake/full`` meets a full disk, ``fake/slow`` takes a second, ``fake/stuck`` cannot be stopped,
``fake/mute`` has an SSH server that does not answer.
``FakeBackend.publish`` makes a newer version of an image, ``fail_next`` has one call fail, and a
place that ``is_away`` does not answer at all.
"""

from mlhub.backends.fake.inventory import FakeBackend
from mlhub.backends.fake.spawner import FakeSpawner

__all__ = ["FakeBackend", "FakeSpawner"]
