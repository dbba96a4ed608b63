"""A cluster, and namespaces that go with the test that made them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.helm import Namespace, fresh_namespace
from tests.support.local_cluster import held_cluster


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Iterator[None]:
    """Keep whoever ends parts of the cluster, in the lane beside, waiting until a test is over."""
    with held_cluster():
        return (yield)


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    """Return a namespace of the test's own."""
    with fresh_namespace() as made:
        yield made


@pytest.fixture(scope="module")
def shared_namespace() -> Iterator[Namespace]:
    """Return a namespace for all tests of a file."""
    with fresh_namespace() as made:
        yield made
