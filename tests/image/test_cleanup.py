"""The cleanup service behind the one port, and its command in the hub's container."""

from __future__ import annotations

import json

from tests.support.hub_container import Hub


def test_the_documented_address_answers_a_token_and_leads_everybody_else_to_the_page(
    hub: Hub,
) -> None:
    status, _, body = hub.request("GET", "/services/cleanup-service/status")
    assert status == 200, body
    assert json.loads(body)["interval_seconds"] == 3600
    status, _, body = hub.request("GET", "/services/cleanup-service/expired?dry_run=1")
    assert (status, json.loads(body)["removed"]) == (200, [])
    status, headers, _ = hub.request("GET", "/services/cleanup-service/expired", headers={})
    assert status == 302
    assert headers["location"].endswith("/hub/services/cleanup-service")


def test_the_command_asks_the_hub_whose_socket_is_nobody_elses(hub: Hub) -> None:
    told = hub.exec("mlhub", "cleanup", "expired", "trash", "--dry-run")
    assert told.splitlines()[0] == "expired: 0 would be removed"
    modes = hub.exec("stat", "--format", "%a %U", "/run/mlhub/hub", "/run/mlhub/hub/cleanup.sock")
    assert modes.split() == ["700", "hub", "600", "hub"]
