"""The user's config is looked at before anything starts."""

from __future__ import annotations

import pytest

from mlhub.boot.preflight import check_user_config, names_other_proxy
from mlhub.errors import ConfigurationError


def test_a_missing_file_is_an_empty_one(tmp_path):
    assert not names_other_proxy(check_user_config(tmp_path / "none.py"))


def test_a_syntax_error_names_file_line_and_text(tmp_path):
    file = tmp_path / "jupyterhub_user_config.py"
    file.write_text("c.Spawner.port = 1\nc.Spawner.image = = 2\n")
    with pytest.raises(ConfigurationError) as refusal:
        check_user_config(file)
    assert f"{file}, line 2" in str(refusal.value)
    assert "c.Spawner.image = = 2" in str(refusal.value)


def test_a_directory_in_its_place_is_explained(tmp_path):
    with pytest.raises(ConfigurationError, match="does not exist on the host"):
        check_user_config(tmp_path)


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ('c.JupyterHub.proxy_class = "traefik_file"', True),
        ("c.JupyterHub.port = 1", False),
        ('if True:\n  c.JupyterHub.proxy_class = "x"', True),
    ],
)
def test_another_proxy_is_noticed(tmp_path, text, other):
    file = tmp_path / "config.py"
    file.write_text(text)
    assert names_other_proxy(check_user_config(file)) is other
