"""The hub, its engine's connection, or whoever asked dies before and after each call of the engine:
ten seconds later a person has one container, all files, and nothing is left over.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from tornado import web

from mlhub.backends import background
from mlhub.backends.docker import previous
from mlhub.cleanup.plan import Task
from mlhub.identity import LABEL_ORIGIN, LABEL_USER
from mlhub.workspaces import due_stops
from tests.support.engine import LABEL, DockerHub, make_tar
from tests.support.mortal_hub import MortalHub
from tests.support.names import make_hub_name

# From the hub's start, or the engine's return, to the end of all that is looked at; of seconds in
# which the machine has time (tests/support/pace.py).
SECONDS = 10
DAY = 86_400
WORDS = b"all of it"


# So many hubs go through their points beside each other, each in a thread and a loop of its own.
AT_ONCE = 6


@contextlib.contextmanager
def soon():
    """What is tried again is tried again at once: hundreds of engines that went away take hours
    else.
    """
    with pytest.MonkeyPatch.context() as patch:
        for module in (background, due_stops):
            patch.setattr(module, "RETRY_SECONDS", 0.3)
        patch.setattr(previous, "REMOVE_PAUSE_SECONDS", 0.3)
        yield


def make_hub(image, folder, number=0):
    """Make a hub; two with different numbers have no network in common."""
    folder.mkdir(exist_ok=True)
    at_hand = DockerHub(image, make_hub_name())
    at_hand.spawner.stop_seconds = 1
    at_hand.spawner.network_pool = f"10.201.{16 * number}.0/20"
    return MortalHub(at_hand, folder)


@pytest.fixture
async def hub(image, tmp_path):
    made = make_hub(image, tmp_path)
    await made.start()
    made.user("admin")
    yield made
    await made.end()


class Things:
    """What the engine has of one person of a hub's."""

    def __init__(self, client, image, hub):
        self.client, self.image, self.hub = client, image, hub

    def filters(self, name):
        labels = {LABEL_ORIGIN: self.hub, LABEL_USER: name}
        return {"label": [f"{key}={value}" for key, value in labels.items()]}

    def containers(self, name):
        found = self.client.api.containers(all=True, filters=self.filters(name))
        return [(each["Names"][0].lstrip("/"), each["State"]) for each in found]

    def networks(self, name):
        return [each["Name"] for each in self.client.api.networks(filters=self.filters(name))]

    def volumes(self, name):
        """The data volumes outside of the trash, and those in it."""
        data, marked = self._list_volumes(name)
        return data - marked, data & marked

    def marked(self, name):
        """The volumes that something says are in the trash, whether or not they are there."""
        return self._list_volumes(name)[1]

    def _list_volumes(self, name):
        found = self.client.api.volumes(filters=self.filters(name))["Volumes"] or []
        marked = {each["Labels"].get("mlhub.trashed_volume") for each in found} - {None}
        data = {each["Name"] for each in found if "mlhub.trashed_volume" not in each["Labels"]}
        return data, marked

    def write(self, container):
        self.client.api.put_archive(container, "/workspace", make_tar("kept", WORDS))

    def read(self, container, path="/workspace/kept"):
        pieces, _ = self.client.api.get_archive(container, path)
        return b"".join(pieces)

    def read_volumes(self, volumes):
        """Read what is on volumes that no container has."""
        binds = [f"{volume}:/data/{number}" for number, volume in enumerate(volumes)]
        host_config = self.client.api.create_host_config(binds=binds)
        made = self.client.api.create_container(
            self.image, labels=dict(LABEL), host_config=host_config
        )["Id"]
        try:
            return [self.read(made, f"/data/{number}/kept") for number in range(len(volumes))]
        finally:
            self.client.api.remove_container(made, force=True)


class Scenario:
    """Something that is done, what is there before, and how it has to be afterwards; ``is_again``
    where what is there afterwards is what was there before.
    """

    server = ""
    is_again = False

    def __init__(self, hub, things, name):
        self.hub, self.things, self.name = hub, things, name

    @property
    def container(self):
        return self.hub.identity(self.name, self.server).container

    async def prepare(self):
        """Make what is there before the first time."""
        await self.hub.spawn(self.name, self.server)
        ((self.volume,), _) = self.things.volumes(self.name)
        self.things.write(self.container)

    async def prepare_again(self):
        """Make of what is there afterwards what was there before."""

    async def do(self):
        raise NotImplementedError

    async def finish(self):
        """Ask for the same again, as a person would, or wait until it is done."""
        await self.do()

    async def check(self):
        raise NotImplementedError

    async def check_one_that_runs(self):
        spawner = self.hub.user(self.name).spawners[self.server]
        assert spawner.ready
        assert await spawner.poll() is None
        await self.see(lambda: self.things.containers(self.name), [(self.container, "running")])
        assert len(self.things.networks(self.name)) == 1
        (live,), trashed = self.things.volumes(self.name)
        assert not trashed
        if hasattr(self, "volume"):
            assert live == self.volume
            assert WORDS in self.things.read(self.container)

    async def check_trashed(self):
        await self.see(lambda: self.things.containers(self.name), [])
        await self.see(lambda: self.things.volumes(self.name), (set(), {self.volume}))
        assert self.things.marked(self.name) == {self.volume}
        await self.see(lambda: self.things.networks(self.name), [])

    async def see(self, look, wanted):
        watch = self.hub.watch
        while (found := look()) != wanted:
            assert watch.read() <= SECONDS, f"{found} is not {wanted} after {watch.elapsed:.0f} s"
            await asyncio.sleep(0.05)


class FirstStart(Scenario):
    async def prepare(self):
        self.hub.user(self.name)

    async def do(self):
        await self.hub.spawn(self.name)

    async def finish(self):
        if not self.hub.user(self.name).spawners[""].ready:
            await self.do()

    async def check(self):
        await self.check_one_that_runs()


class StartAgain(FirstStart):
    is_again = True

    async def prepare(self):
        await Scenario.prepare(self)
        await self.prepare_again()

    async def prepare_again(self):
        await self.hub.stop(self.name)


class StartAnew(StartAgain):
    """With other options: the container is made anew, beside the one before."""

    times = 0

    async def prepare_again(self):
        await super().prepare_again()
        self.times += 1

    async def do(self):
        await self.hub.spawn(self.name, options={"env": {"NEW": str(self.times)}})

    async def finish(self):
        # What is left of a start that was cut off goes with the next one at the latest.
        await self.hub.stop(self.name)
        await self.do()


class Stop(Scenario):
    is_again = True

    async def do(self):
        await self.hub.stop(self.name)

    async def check(self):
        await self.see(lambda: self.things.containers(self.name), [(self.container, "exited")])
        await self.hub.spawn(self.name)
        await self.check_one_that_runs()


class Delete(Scenario):
    server = "work"
    is_again = True

    async def do(self):
        await self.hub.delete(self.name, "work")

    async def check(self):
        await self.check_trashed()
        assert "work" not in self.hub.user(self.name).orm_spawners
        trash, user = self.hub.make_trash(), self.hub.user(self.name)
        (item,) = await trash.list_own(user)
        await trash.restore(item, user, "work")
        await self.hub.spawn(self.name, "work")
        await self.check_one_that_runs()


class RemovePerson(Scenario):
    async def do(self):
        await self.hub.remove_person(self.name)

    async def finish(self):
        """Ask again as long as the answer is to try it later: a stop may still be due."""
        while True:
            try:
                return await self.do()
            except web.HTTPError as error:
                if error.status_code != 503 or self.hub.watch.read() > SECONDS:
                    raise
            await asyncio.sleep(0.1)

    async def check(self):
        await self.check_trashed()
        assert not self.hub.has_user(self.name)


class Orphans(Scenario):
    async def prepare(self):
        await super().prepare()
        self.hub.forget(self.name)
        self.hub.shift += 2  # the engine tells whole seconds

    async def do(self):
        await self.hub.clean(Task.USERS)

    async def check(self):
        await self.check_trashed()


class Expired(Scenario):
    server = "work"

    async def prepare(self):
        await super().prepare()
        self._let_expire()

    def _let_expire(self):
        spawner = self.hub.user(self.name).spawners["work"]
        spawner.put_off(int(time.time()) - 10)
        spawner.orm_spawner.state = spawner.get_state()
        self.hub.app.db.commit()

    async def do(self):
        await self.hub.clean(Task.EXPIRED, passes=1)

    async def check(self):
        await self.check_trashed()
        assert "work" not in self.hub.user(self.name).orm_spawners


class EmptyTrash(Scenario):
    server = "work"

    async def prepare(self):
        await super().prepare()
        await self.hub.delete(self.name, "work")
        self.hub.shift += 15 * DAY

    async def do(self):
        await self.hub.clean(Task.TRASH)

    async def check(self):
        await self.see(lambda: self.things.volumes(self.name), (set(), set()))
        if self.things.marked(self.name):  # goes with the next hub at the latest
            await self.hub.start_anew()
            await self.see(lambda: self.things.marked(self.name), set())
        assert self.things.containers(self.name) == self.things.networks(self.name) == []


SPAWNS = [FirstStart, StartAgain, StartAnew]
OTHERS = [Stop, Delete, RemovePerson]
CLEANUPS = [Orphans, Expired, EmptyTrash]
ALL = [*SPAWNS, *OTHERS, *CLEANUPS]


async def go_through(scenario, hub, fate):
    """Go through one point; return how many seconds it took until all was well, those that count
    and all, None where it was not reached.
    """
    hub.fate.set(*fate)
    is_met = await hub.meet(scenario.do)
    if is_met:
        await scenario.finish()
    await scenario.check()
    took = hub.watch.read(), hub.watch.elapsed
    assert took[0] <= SECONDS, describe(took)
    return took if is_met else None


async def go_through_all(hub, client, kind, how, when):
    """Go through all points of one kind, with one person after the other; return how long the
    slowest took.
    """
    things = Things(client, hub.config.MLHubDockerSpawner.image, hub.hub_name)
    await hub.start()
    hub.user("admin")
    scenario, left, slowest = None, [], (0.0, 0.0)
    try:
        for at in itertools.count():
            if scenario is not None and kind.is_again:
                await scenario.prepare_again()
            else:
                scenario = kind(hub, things, f"p{at}")
                await scenario.prepare()
            try:
                took = await go_through(scenario, hub, (at, when, how))
            except AssertionError as error:
                raise AssertionError(f"{kind.__name__}, {how} {when} call {at}: {error}") from error
            _, trashed = things.volumes(scenario.name)
            left += trashed
            if took is None:
                break
            slowest = max(slowest, took)
            if not kind.is_again:
                await hub.remove_person(scenario.name)
    finally:
        await hub.end()
    assert at >= 1
    assert all(WORDS in content for content in things.read_volumes(left))
    return slowest


@pytest.mark.full
@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("what", ["hub", "others"])
def test_whatever_dies_at_whichever_call_everything_ends_as_it_should(
    image, client, tmp_path, record_property, kind, what
):
    # The cleanup timer is ended; a start that is cancelled is ended by the hub's handlers.
    others = ["connection", "engine", *(["task"] if kind in CLEANUPS else [])]
    ways = list(itertools.product(["hub"] if what == "hub" else others, ["before", "after"]))
    hubs = [make_hub(image, tmp_path / "-".join(way), at) for at, way in enumerate(ways)]
    with contextlib.nullcontext() if what == "hub" else soon(), ThreadPoolExecutor(AT_ONCE) as pool:
        doing = [
            pool.submit(asyncio.run, go_through_all(hub, client, kind, *way))
            for hub, way in zip(hubs, ways, strict=True)
        ]
    failures = [error for each in doing if (error := each.exception())]
    if failures:
        raise BaseExceptionGroup(f"{len(failures)} of {len(ways)} ways", failures)
    tell(record_property, max(each.result() for each in doing))


def tell(record_property, took):
    """Write down how long the slowest took."""
    record_property("until all is well", describe(took))
    print(describe(took))


def describe(took):
    return f"all is well after {took[0]:.1f} s, {took[1]:.1f} s with what the machine was busy"


@pytest.mark.parametrize(
    ("kind", "call", "when", "how"),
    [
        (FirstStart, "create_container", "after", "hub"),
        (StartAnew, "start", "after", "hub"),
        (Stop, "stop", "after", "hub"),
        (Stop, "stop", "before", "engine"),
        (Delete, "remove_container", "after", "hub"),
        (RemovePerson, "remove_container", "before", "hub"),
        (EmptyTrash, "remove_volume", "after", "hub"),
    ],
)
async def test_what_ends_amid_it_leaves_nothing_behind(
    hub, client, image, record_property, kind, call, when, how
):
    scenario = kind(hub, Things(client, image, hub.hub_name), "ann")
    await scenario.prepare()
    took = await go_through(scenario, hub, (call, when, how))
    assert took is not None, "no such call"
    tell(record_property, took)
