"""A service that cannot be started is refused when the hub starts, in place of being started for
ever.
"""

from __future__ import annotations

import sys

import pytest
from traitlets.config import Config

from mlhub.errors import ConfigurationError
from mlhub.hub.layers.services import check_services


def check(**service):
    c = Config()
    c.JupyterHub.services = [{"name": "first", **service}]
    check_services(c)


@pytest.mark.parametrize(
    ("service", "missing"),
    [
        (
            {"command": ["no-such-program", "--x"]},
            "the program 'no-such-program' is not in",
        ),
        ({"command": ["/nowhere/program"]}, "the program '/nowhere/program'"),
        ({"command": [sys.executable, "-m", "no_such_module.part"]}, "no module 'no_such_module.p"),
        ({"command": [sys.executable, "-u", "-m", "no_such_module"]}, "no module 'no_such_module'"),
        ({"command": [sys.executable, "-m"]}, "no module"),
        ({"command": ["true"], "cwd": "/nowhere"}, "its folder '/nowhere' is not there"),
    ],
)
def test_a_service_that_cannot_be_started_is_refused_with_what_is_missing(service, missing):
    with pytest.raises(ConfigurationError) as refusal:
        check(**service)
    assert "the service 'first' cannot be started: " in str(refusal.value)
    assert missing in str(refusal.value)
    assert "an image of your own" in str(refusal.value)


@pytest.mark.parametrize(
    "service",
    [
        {},
        {"api_token": "any", "url": "http://elsewhere:1"},
        {"command": ["true"]},
        {"command": "true --x"},
        {"command": [sys.executable, "-m", "json.tool"]},
        {"command": [sys.executable, "script.py", "-m", "no_such_module"]},
        {"command": [sys.executable, "-m", "mine"], "environment": {"PYTHONPATH": "/mine"}},
        {"command": ["own"], "environment": {"PATH": "/nowhere"}, "cwd": "/"},
    ],
)
def test_a_service_that_can_be_started_is_none_of_our_business(service, tmp_path):
    if service.get("cwd"):
        program = tmp_path / "own"
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
        service = {**service, "environment": {"PATH": str(tmp_path)}}
    check(**service)


def test_a_service_that_is_appended_is_looked_at_and_more_may_follow():
    c = Config()
    c.JupyterHub.services.append({"name": "first", "command": ["no-such-program"]})
    with pytest.raises(ConfigurationError, match="no-such-program"):
        check_services(c)
    c.JupyterHub.services.append({"name": "second"})
    assert len(c.JupyterHub.services.get_value([])) == 2


def test_all_services_that_cannot_be_started_are_named_at_once():
    c = Config()
    c.JupyterHub.services = [{"name": name, "command": [f"no-{name}"]} for name in ("a", "b")]
    with pytest.raises(ConfigurationError) as refusal:
        check_services(c)
    assert len(str(refusal.value).splitlines()) == 2
