"""A cluster, and namespaces that go with the test that made them."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.chart.helm import RESTRICTED, Namespace, run, succeed


@contextmanager
def fresh_namespace() -> Iterator[Namespace]:
    """Make a namespace that enforces `restricted`; it goes with everything that releases in it made."""
    name = f"mlhub-chart-{secrets.token_hex(3)}"
    metadata = {"name": name, "labels": {"mlhub.test": "chart", **RESTRICTED}}
    succeed("kubectl", "create", "--filename", "-", given=json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}))
    try:
        yield Namespace(name)
    finally:
        run("kubectl", "delete", "namespace", name, "--wait=false", seconds=60)
        for kind in ("clusterrole", "clusterrolebinding", "priorityclass"):
            names = run("kubectl", "get", kind, "--output", "name").stdout.split()
            if ours := [each for each in names if each.split("/")[1].startswith(f"{name}-")]:
                run("kubectl", "delete", *ours)


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
