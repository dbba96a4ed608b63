"""Random interleavings of all that is done to workspaces, in memory and on the engine."""

from __future__ import annotations

import secrets

import docker
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from mlhub.backends.fake import FakeSpawner
from mlhub.backends.memory import MemoryBackend
from mlhub.identity import Identity
from tests.support.at_hand import HubAtHand
from tests.support.engine import LABEL, DockerHub, remove_leftovers
from tests.support.interleavings import Interleavings
from tests.support.mortal_hub import MortalHub
from tests.support.names import make_hub_name

ANYTHING = {
    "deadline": None,
    "print_blob": True,
    "suppress_health_check": list(HealthCheck),
    "database": None,
}
# To look for a shorter case would take as long as ten runs.
ON_THE_ENGINE = {**ANYTHING, "phases": (Phase.generate,)}


@pytest.fixture
def in_memory(tmp_path):
    class InMemory(Interleavings):
        def make_hub(self):
            folder = tmp_path / secrets.token_hex(4)
            folder.mkdir()
            MemoryBackend.backends.clear()  # some hub before may have had the same name
            at_hand = HubAtHand("fake/workspace:1", make_hub_name(), FakeSpawner)
            return MortalHub(at_hand, folder)

        def publish(self):
            self.hub.backend.publish("fake/workspace:1")

        async def kill_workspace(self, identity):
            await self.hub.backend.find_running(identity).stop()

        async def find_volume_in_use(self, identity):
            return self.hub.backend.records[identity].volume

    yield InMemory
    MemoryBackend.backends.clear()


@pytest.fixture
def on_the_engine(tmp_path, image):
    client = docker.from_env(timeout=120)

    class OnTheEngine(Interleavings):
        def make_hub(self):
            folder = tmp_path / secrets.token_hex(4)
            folder.mkdir()
            at_hand = DockerHub(image, make_hub_name())
            at_hand.spawner.stop_seconds = 1
            at_hand.spawner.pull_policy = "never"  # no registry is asked for a newer image
            # Of another hub, under the names of ours.
            other = Identity("other", "ann0", "work").labels
            self.strangers = [
                client.api.create_volume(
                    Identity(at_hand.hub_name, "bob0", "work").volume(number),
                    labels={**LABEL, **other},
                )["Name"]
                for number in (5, 6)
            ]
            return MortalHub(at_hand, folder)

        def check_strangers(self):
            for name in self.strangers:
                labels = client.api.inspect_volume(name)["Labels"]
                assert labels["mlhub.origin"] == "other"

        async def kill_workspace(self, identity):
            client.api.kill(identity.container)

        async def find_volume_in_use(self, identity):
            found = client.api.inspect_container(identity.container)
            (name,) = (each["Name"] for each in found["Mounts"] if each["Type"] == "volume")
            return name

    yield OnTheEngine
    remove_leftovers(client)
    client.close()


def test_whatever_is_done_in_whichever_order_the_last_accepted_command_holds(in_memory):
    run_state_machine_as_test(
        in_memory, settings=settings(max_examples=5, stateful_step_count=15, **ANYTHING)
    )


@pytest.mark.full
def test_so_it_is_over_four_hundred_orders(in_memory):
    in_memory.groups = 5  # beside each other: one hub's lives take more time than commands do
    run_state_machine_as_test(
        in_memory, settings=settings(max_examples=80, stateful_step_count=30, **ANYTHING)
    )


def test_fifty_interleavings_on_the_engine_lose_nothing(on_the_engine):
    run_state_machine_as_test(
        on_the_engine, settings=settings(max_examples=4, stateful_step_count=12, **ON_THE_ENGINE)
    )


@pytest.mark.full
def test_two_thousand_interleavings_on_the_engine_lose_nothing(on_the_engine):
    on_the_engine.groups = 5  # beside each other
    run_state_machine_as_test(
        on_the_engine, settings=settings(max_examples=20, stateful_step_count=20, **ON_THE_ENGINE)
    )
