"""Pulls from a real registry on a slow line: how far they are, and that one is enough for all."""

import asyncio
import secrets
import time

import pytest
from tornado import web

from mlhub.backends.docker.prepull import pull_images
from mlhub.backends.docker.spawner import MLHubDockerSpawner
from mlhub.cli.__main__ import main
from mlhub.errors import ImageError
from tests.support.engine import LABEL, eventually
from tests.support.registry import Line, build, push

LAYERS, SIZE = 4, 2_000_000


@pytest.fixture
def published(client, registry, drop_images):
    """The path of an image that only the registry has."""
    path = f"slow/{secrets.token_hex(4)}:1"
    build(
        client,
        f"{registry.address}/{path}",
        layers=LAYERS,
        size=SIZE,
        lines=['CMD ["/layer0"]'],
        label=LABEL,
    )
    push(client, f"{registry.address}/{path}")
    client.images.remove(f"{registry.address}/{path}", force=True)
    return path


async def test_a_pull_tells_layers_and_bytes_with_a_percentage_that_moves_and_never_goes_back(
    engine, registry, published, drop_images
):
    reports = []
    async with Line(registry, bytes_per_second=3_000_000) as line:
        await engine.pull(
            drop_images(f"{line.address}/{published}"), lambda *report: reports.append(report)
        )
    percents = [percent for percent, _ in reports]
    assert percents == sorted(percents)
    assert percents[-1] == 100
    assert len({int(percent) for percent in percents if 0 < percent < 75}) >= 10
    messages = [message for _, message in reports]
    assert any(
        f"of {LAYERS} layers" in message and f"MB of {LAYERS * SIZE / 1e6:.1f} MB" in message
        for message in messages
    )


async def test_twenty_who_want_one_image_share_one_pull(engine, registry, published, drop_images):
    reports = [[] for _ in range(20)]
    async with Line(registry, bytes_per_second=8_000_000) as line:
        image = drop_images(f"{line.address}/{published}")
        await asyncio.gather(
            *(
                engine.pull(image, lambda *report, mine=mine: mine.append(report))
                for mine in reports
            )
        )
        asked = line.count("/manifests/")
        assert line.count("/blobs/") == LAYERS + 1  # and the image's own description
        await engine.pull(image)
        # the twin: a pull that comes later is one of its own
        assert asked < line.count("/manifests/") <= 2 * asked
    assert all(mine[-1] == (100, f"{image} is here") for mine in reports)


async def test_one_who_gives_up_does_not_stop_the_pull_of_the_others(
    engine, registry, published, drop_images, client
):
    async with Line(registry, bytes_per_second=4_000_000) as line:
        image = drop_images(f"{line.address}/{published}")
        impatient = asyncio.create_task(engine.pull(image))
        patient = asyncio.create_task(engine.pull(image))
        await asyncio.sleep(0.3)
        impatient.cancel()
        await patient
    assert client.images.get(image)


async def test_the_progress_of_a_start_moves_while_its_image_is_pulled(
    hub, registry, published, drop_images
):
    async with Line(registry, bytes_per_second=3_000_000) as line:
        hub.spawner.image = drop_images(f"{line.address}/{published}")
        spawner = hub.user("alice").get_or_create_spawner("", "")
        with pytest.raises(
            web.HTTPError, match="ended before it answered"
        ):  # there is nothing in it that could run
            await hub.start("alice")
    events = spawner.start_progress.events
    percents = [event["progress"] for event in events]
    assert percents == sorted(percents)
    assert len({percent for percent in percents if 5 < percent < 60}) >= 5
    assert events[0]["message"] == "Looking for the image"
    # It ends so soon that it may have ended before anything waits for it.
    told = [
        event["message"]
        for event in events
        if event["message"] != "Waiting for the workspace to answer"
    ]
    assert told[-2:] == ["Creating the container", "Starting the container"]


async def test_a_pull_that_takes_longer_than_a_start_may_take_is_no_failed_start(
    hub, registry, image, drop_images, client
):
    path = f"slow/{secrets.token_hex(4)}:1"
    build(client, f"{registry.address}/{path}", base=image, size=6_000_000, label=LABEL)
    push(client, f"{registry.address}/{path}")
    client.images.remove(f"{registry.address}/{path}", force=True)
    hub.spawner.start_timeout = 10
    async with Line(registry, bytes_per_second=480_000) as line:
        hub.spawner.image = drop_images(f"{line.address}/{path}")
        began = time.monotonic()
        spawner = await hub.start("alice")
        assert time.monotonic() - began > hub.spawner.start_timeout + 2
    assert await spawner.poll() is None
    # The twin: with the image here, a start that takes too long is given up.
    hub.spawner.start_timeout = 2
    hub.spawner.environment = {"START_DELAY": "60"}
    with pytest.raises(TimeoutError):
        await hub.start("bob")


async def test_a_start_without_a_pull_goes_straight_to_the_container(hub):
    spawner = await hub.start("alice")
    steps = [
        "Looking for the image",
        "Creating the container",
        "Starting the container",
        "Waiting for the workspace to answer",
    ]
    assert [event["message"] for event in spawner.start_progress.events] == steps


async def test_images_are_pulled_ahead_and_one_that_is_missing_keeps_no_other_back(
    engine, registry, published, drop_images, client
):
    image, missing = (
        drop_images(f"{registry.address}/{published}"),
        f"{registry.address}/none/such:1",
    )
    failures = await pull_images(engine, [missing, image])
    assert list(failures) == [missing]
    assert missing in failures[missing]
    assert client.images.get(image)


async def test_a_hub_can_pull_what_the_site_offers_on_a_schedule(
    hub, registry, published, drop_images, client, tmp_path
):
    async with Line(registry) as line:
        image = drop_images(f"{line.address}/{published}")
        hub.spawner.policy_file = str(tmp_path / "policy.yaml")
        (tmp_path / "policy.yaml").write_text(f"images:\n- {{name: one, image: '{image}'}}\n")
        hub.spawner.image_pull_interval_seconds = 1
        spawner = MLHubDockerSpawner(config=hub.config)  # as the hub does when it starts
        await spawner.prepare_hub()
        try:
            await eventually(lambda: line.count("/manifests/") >= 6, 20, "a third pull")
        finally:
            for task in spawner.backend._background:
                task.cancel()
    assert client.images.get(image)


def test_the_command_pulls_the_catalogue_and_says_what_failed(
    registry, published, drop_images, client, tmp_path, monkeypatch, capsys
):
    from mlhub.settings import Settings

    image = drop_images(f"{registry.address}/{published}")
    policy = tmp_path / "policy.yaml"
    policy.write_text(
        f"images:\n- {{name: good, image: '{image}'}}\n- {{name: bad, image:"
        f" '{registry.address}/none/such:1'}}\n"
    )
    (tmp_path / "settings.json").write_text(Settings.from_environment({}).model_dump_json())
    monkeypatch.setenv("MLHUB_RUN_DIR", str(tmp_path))
    assert main(["images", "pull", "--policy", str(policy), "good"]) == 0
    assert f"{image} is here" in capsys.readouterr().out
    assert client.images.get(image)
    assert main(["images", "pull", "--policy", str(policy)]) == 1
    assert "none/such:1' cannot be pulled" in capsys.readouterr().err


async def test_a_registry_that_is_not_there_is_a_sentence(engine):
    with pytest.raises(ImageError, match=r"127\.0\.0\.1:9/none/such:1"), engine.friendly_errors():
        await engine.pull("127.0.0.1:9/none/such:1")
