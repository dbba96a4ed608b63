"""Which network a user has whom an older version gave one, and how the hub joins one, without an
engine.
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from mlhub.backends.docker.client import Client
from mlhub.backends.docker.former_networks import FormerNetworks
from mlhub.identity import Identity

ALICE, BOB = Identity("t", "alice"), Identity("t", "bob", "lab")


def test_who_has_one_keeps_it_and_everybody_else_gets_one_of_todays_names():
    former = FormerNetworks()
    former.note([ALICE.former_network], ["bridge"], "1.41")
    assert former.name(ALICE) == "net-t--alice"
    assert former.name(BOB) == BOB.network == "zz-net-t--bob"
    former.forget(ALICE)
    assert former.name(ALICE) == ALICE.network


@pytest.mark.parametrize(
    ("own", "api_version", "is_in_the_way"),
    [
        (["bridge"], "1.41", False),  # the engine's default network
        (["web"], "1.41", True),
        (["t_default"], "1.47", True),
        (["app_default", "web"], "1.41", False),  # the first of them has the port
        (["web"], "1.48", False),  # such an engine knows priorities of gateways
        (["web"], "1.51", False),
        ([], "1.41", False),  # the hub is no container of the engine
    ],
)
def test_one_is_in_the_way_where_its_name_sorts_before_the_hubs_own_networks(
    own, api_version, is_in_the_way
):
    former = FormerNetworks()
    former.note([], own, api_version)
    assert former.is_in_the_way(ALICE) is is_in_the_way


def test_todays_names_sort_behind_what_people_call_networks():
    for name in ("bridge", "jupyter", "net", "proxy", "traefik_default", "web", "xyz_default"):
        assert name < ALICE.network


class Engine(BaseHTTPRequestHandler):
    """An engine newer than the one of the tests, as far as it is asked here."""

    asked: list = []

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append((self.path, body))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.mark.parametrize(("version", "priority"), [("1.41", None), ("1.47", None), ("1.48", -1)])
def test_an_engine_that_knows_priorities_of_gateways_is_told_that_this_network_is_none(
    version, priority
):
    server = HTTPServer(("127.0.0.1", 0), Engine)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    client = Client(f"tcp://127.0.0.1:{server.server_port}", version=version)
    try:
        client.join_network("hub", ALICE.network, ["t"])
    finally:
        client.close()
        server.shutdown()
        server.server_close()
    path, body = Engine.asked.pop()
    assert path == f"/v{version}/networks/{ALICE.network}/connect"
    assert (body["Container"], body["EndpointConfig"]["Aliases"]) == ("hub", ["t"])
    assert body["EndpointConfig"].get("GwPriority") == priority
