"""The user's config is looked at before anything starts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mlhub.boot.accounts import Account
from mlhub.boot.data import prepare_data_dir
from mlhub.boot.preflight import check_user_config, find_user_config
from mlhub.errors import ConfigurationError
from mlhub.settings import Settings


def test_there_may_be_none(tmp_path):
    check_user_config(tmp_path / "none.py")


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


def test_what_the_chart_was_given_is_the_user_config_and_else_the_images_own_file(tmp_path):
    values, given = tmp_path / "config" / "values.yaml", tmp_path / "secret"
    settings = Settings(mlhub_chart_values=values, mlhub_resources_dir=tmp_path)
    own = tmp_path / "jupyterhub_user_config.py"
    assert find_user_config(settings) == own
    given.mkdir()
    (given / own.name).write_text("")  # as the chart makes it where nothing was given
    assert find_user_config(settings) == own
    (given / own.name).write_text("c.Spawner.cpu_limit = 2\n")
    assert find_user_config(settings) == given / own.name
    assert find_user_config(Settings(mlhub_resources_dir=tmp_path)) == own


def test_a_data_directory_that_cannot_be_written_is_told_with_the_cure_of_the_place(tmp_path):
    """As that of a full volume is: nothing can be made below /proc."""
    me, place = Account("hub", os.getuid(), os.getgid()), Path("/proc/data")
    on_docker = Settings(data_volume_container=place)
    with pytest.raises(ConfigurationError, match="--volume jupyterhub_data:/proc/data"):
        prepare_data_dir(on_docker, me)
    by_chart = Settings(data_volume_container=place, mlhub_chart_values=tmp_path / "values.yaml")
    with pytest.raises(ConfigurationError, match=r"hub\.db\.pvc\.storage") as refusal:
        prepare_data_dir(by_chart, me)
    assert "--volume" not in str(refusal.value)
    prepare_data_dir(Settings(data_volume_container=tmp_path / "data"), me)
