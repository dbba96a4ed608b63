"""The command for the trash in the hub's container."""

from __future__ import annotations

from tests.support.hub_container import Hub


def test_the_command_asks_the_hub_whose_socket_is_nobody_elses(hub: Hub) -> None:
    assert hub.exec("mlhub", "trash", "list", "--user", "nobody-of-that-name") == "Nothing."
    modes = hub.exec("stat", "--format", "%a %U", "/run/mlhub/hub/trash.sock")
    assert modes.split() == ["600", "hub"]
