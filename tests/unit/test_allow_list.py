"""What is said about an allow-list when the hub starts."""

from __future__ import annotations

import logging

import pytest
from jupyterhub.auth import DummyAuthenticator

from mlhub.signin.allow_list import with_allow_list


@pytest.fixture
def explain(caplog):
    """Return what the log says of an allow-list at that place, when a hub starts."""

    def explain(file) -> str:
        caplog.clear()
        authenticator = with_allow_list(DummyAuthenticator, file)(allow_all=True)
        authenticator.log = logging.getLogger("allow-list")
        authenticator.check_allow_config()
        return caplog.text

    return explain


def test_a_list_that_is_asked_for_and_not_there_is_a_warning_at_each_start(explain, tmp_path):
    file = tmp_path / "dynamic_whitelist.txt"
    for _ in range(2):
        assert f"{file}, which is not there" in explain(file)
        assert "mlhub.allowList" in explain(file)


def test_a_list_that_is_there_and_none_at_all_are_no_reason_for_a_word(explain, tmp_path):
    file = tmp_path / "dynamic_whitelist.txt"
    file.write_text("ann\n")
    assert "which is not there" not in explain(file)
    assert "which is not there" not in explain(None)
