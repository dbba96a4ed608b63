"""The documented name of the hub's container on a real engine: who gets it, and who is refused
because another hub has it.
"""

import threading
import time

import pytest

from mlhub.backends.docker.hub_container import take_name
from mlhub.errors import ConfigurationError
from tests.support.engine import LABEL

HUB_IMAGE = {"org.opencontainers.image.title": "MLHub"}


@pytest.fixture
def make_container(client, image):
    """Containers that stand for hubs; ``variables`` is what they were told."""

    def make(name=None, labels=HUB_IMAGE, **variables):
        return client.containers.run(
            image,
            detach=True,
            labels={**LABEL, **labels},
            name=name,
            environment=variables,
            init=True,
        )

    return make


@pytest.fixture
def take(engine, hub_name):
    async def take(container, seconds=0.0):
        container.reload()
        return await take_name(engine, container.attrs, hub_name, seconds)

    return take


async def test_a_hub_gets_its_documented_name_and_keeps_it(make_container, take, client, hub_name):
    container = make_container(HUB_NAME=hub_name)
    assert await take(container)
    assert client.containers.get(hub_name).id == container.id
    assert await take(container)


async def test_a_description_from_before_the_rename_does_no_harm(
    engine, make_container, take, hub_name
):
    container = make_container(HUB_NAME=hub_name)
    before = dict(container.attrs)
    assert await take(container)
    assert await take_name(engine, before, hub_name, 0)


async def test_the_second_running_hub_of_a_name_is_refused(make_container, take, client, hub_name):
    first, second = make_container(hub_name, HUB_NAME=hub_name), make_container(HUB_NAME=hub_name)
    with pytest.raises(
        ConfigurationError,
        match=(
            f"The container '{hub_name}' is a running hub: two hubs with HUB_NAME={hub_name}."
            " Stop the"
        ),
    ):
        await take(second)
    assert await take(first)
    assert client.containers.get(hub_name).id == first.id


async def test_a_hub_that_ends_while_its_successor_starts_leaves_the_name_to_it(
    make_container, take, client, hub_name
):
    first, second = make_container(hub_name, HUB_NAME=hub_name), make_container(HUB_NAME=hub_name)
    ending = threading.Timer(0.5, lambda: first.remove(force=True))
    ending.start()
    assert await take(second, 20)
    ending.join()
    assert client.containers.get(hub_name).id == second.id


async def test_a_hub_that_is_only_stopped_keeps_its_name_and_holds_nobody_up_for_long(
    make_container, take, hub_name
):
    first, second = make_container(hub_name, HUB_NAME=hub_name), make_container(HUB_NAME=hub_name)
    ending = threading.Timer(0.5, lambda: first.kill())
    ending.start()
    began = time.monotonic()
    assert not await take(second, 60)
    assert time.monotonic() - began < 30
    ending.join()


@pytest.mark.parametrize(
    ("labels", "variables"),
    [
        (HUB_IMAGE, {"HUB_NAME": "other"}),
        (HUB_IMAGE, {}),
        (HUB_IMAGE, {"HUB_NAME": "{hub}", "START_JHUB": "false", "START_CHP": "true"}),
        (HUB_IMAGE, {"HUB_NAME": "{hub}", "EXECUTION_MODE": "k8s"}),
        (HUB_IMAGE, {"HUB_NAME": "{hub}", "DOCKER_HOST": "tcp://engine.example:2376"}),
        (HUB_IMAGE, {"HUB_NAME": "{hub}", "EXECUTION_MODE": "nonsense"}),
        ({}, {"HUB_NAME": "{hub}"}),
    ],
    ids=[
        "another name",
        "the default name",
        "proxy role",
        "Kubernetes",
        "another engine",
        "wrong settings",
        "no hub",
    ],
)
async def test_a_container_that_is_no_such_hub_only_keeps_the_name(
    make_container, take, hub_name, labels, variables
):
    make_container(
        hub_name, labels, **{name: value.format(hub=hub_name) for name, value in variables.items()}
    )
    assert not await take(make_container(HUB_NAME=hub_name))


async def test_a_hub_that_does_not_run_any_more_only_keeps_the_name(make_container, take, hub_name):
    make_container(hub_name, HUB_NAME=hub_name).stop(timeout=1)
    assert not await take(make_container(HUB_NAME=hub_name))
