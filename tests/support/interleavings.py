"""Random interleavings of what people, administrators, cleanup, hub and engine do to workspaces.

A batch of commands runs at once, one for each of some groups of people, none of whom has to do with
the others; then the hub has to believe what is true, and nothing may be missing that nobody has
removed for good.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from mlhub.backends import background
from mlhub.backends.docker import states
from mlhub.cleanup.idle import Culler
from mlhub.cleanup.plan import Task
from mlhub.settings import Settings
from mlhub.workspaces import due_stops
from mlhub.workspaces.holder import LABEL_PERSON
from mlhub.workspaces.port import Kind

# What would be waited for.
PAUSES = (
    (background, "RETRY_SECONDS", 0.05),
    (due_stops, "RETRY_SECONDS", 0.05),
    (states, "FRESH_SECONDS", 0.1),
)
PEOPLE, SERVERS = ("ann", "bob"), ("", "work")
DAY = 86_400
CULLED_AFTER = timedelta(days=1)
places = st.tuples(st.sampled_from(PEOPLE), st.sampled_from(SERVERS))
# Starts first and often: most of the others mean something only where a workspace runs.
COMMANDS = (
    *("start",) * 6,
    *("stop", "stop", "delete", "delete", "expire", "update", "restore", "restore"),
    *("rename", "die", "cull"),
)
commands = st.tuples(st.sampled_from(COMMANDS), places, st.integers(0, 20))


def for_each_group(batch):
    """Draw something for each group, as commands with the groups' own people."""

    def draw(machine):
        return st.tuples(*[batch] * machine.groups).map(put_together)

    return st.runner().flatmap(draw)


def put_together(batches):
    return [
        (command, (f"{name}{group}", server), after)
        for group, batch in enumerate(batches)
        for command, (name, server), after in batch
    ]


class Interleavings(RuleBasedStateMachine):
    """What holds whatever happens. A subclass makes the hub (``make_hub``)."""

    groups = 1

    def make_hub(self):
        raise NotImplementedError

    async def kill_workspace(self, identity):
        """End a workspace from outside."""
        raise NotImplementedError

    async def find_volume_in_use(self, identity):
        """Return the name of the volume that a running workspace has."""
        raise NotImplementedError

    def publish(self):
        """Make a newer image."""

    def check_strangers(self):
        """Check that what is not the hub's is as it was."""

    def __init__(self):
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.pauses = [(module, name, getattr(module, name)) for module, name, _ in PAUSES]
        for pause in PAUSES:
            setattr(*pause)
        # Of each volume, whom it was made for; what may be gone; what a server was told last.
        self.made_for, self.gone, self.told = {}, set(), {}
        self.moments = []

    def run(self, coroutine):
        return self.loop.run_until_complete(coroutine)

    @initialize()
    def begin(self):
        self.hub = self.make_hub()
        self.run(self.hub.start())
        self.hub.user("admin")

    def teardown(self):
        if hasattr(self, "hub"):
            self.check_strangers()
            self.run(self.hub.end())
        for pause in self.pauses:
            setattr(*pause)
        self.loop.close()

    # what happens

    @rule(batch=for_each_group(st.lists(commands, min_size=2, max_size=5)))
    def command(self, batch):
        self.run(self._together(batch))

    @rule(
        batch=for_each_group(st.lists(commands, min_size=2, max_size=4)), after=st.integers(0, 30)
    )
    def restart_amid(self, batch, after):
        """The hub is killed while commands are under way."""

        async def die():
            doing = [asyncio.ensure_future(self._do(*each)) for each in batch]
            for _ in range(after):
                await asyncio.sleep(0.003)
            await self.hub.end()
            await asyncio.wait(doing, timeout=30)
            for each in doing:
                if each.done() and not each.cancelled():
                    each.exception()
            await self.hub.start()

        self.run(die())
        for _, place, _ in batch:
            self.told.pop(place, None)  # one way or the other

    @rule()
    def restart(self):
        async def die():
            await self.hub.end()
            await self.hub.start()

        self.run(die())

    @rule(name=st.sampled_from(PEOPLE), group=st.integers(0, 9))
    def remove_person(self, name, group):
        name += str(group % self.groups)

        async def remove():
            try:
                await self.hub.remove_person(name)
            except Exception:  # noqa: BLE001 - refused
                return False
            return True

        if self.run(remove()):
            for server in SERVERS:
                self.told[name, server] = "gone"

    @rule(task=st.sampled_from([Task.USERS, Task.EXPIRED]))
    def clean(self, task):
        self.run(self.hub.clean(task))

    @rule()
    def empty_trash(self):
        async def empty():
            resources = await self.hub.backend.list_resources()
            self.gone |= {each.name for each in resources if each.trashed_at is not None}
            self.hub.shift += 15 * DAY
            await self.hub.clean(Task.TRASH)

        self.run(empty())

    # what holds

    @invariant()
    def the_hub_believes_what_is_true_and_nothing_is_lost(self):
        if hasattr(self, "hub"):
            self.run(self._check())

    async def _check(self):
        await self._look()
        resources = await self.hub.backend.list_resources()
        containers = [(each.user, each.server) for each in resources if each.kind is Kind.WORKSPACE]
        assert len(containers) == len(set(containers)), "two containers of one server"
        volumes = {each.name: each for each in resources if each.kind is Kind.VOLUME}
        for name, volume in volumes.items():
            owner = volume.labels[LABEL_PERSON]
            assert self.made_for.setdefault(name, owner) == owner
        gone = set(self.made_for) - set(volumes)
        assert gone <= self.gone, "data is lost"
        self.gone.clear()
        for name in gone:  # another volume may have it next
            del self.made_for[name]
        running = {
            (each.identity.user, each.identity.server)
            for each in await self.hub.backend.list_workspaces()
            if each.is_running
        }
        believed = {
            (user.name, server)
            for user in self.hub.app.users.values()
            for server, spawner in user.spawners.items()
            if spawner.ready
        }
        assert running == believed, "the hub believes something else"
        for place, state in self.told.items():
            assert (place in running) == (state == "runs"), f"{place} was told: {state}"
        for name, server in running:
            volume = await self.find_volume_in_use(self.hub.identity(name, server))
            label = self.hub.user(name).spawners[server].holder.label
            assert volumes[volume].labels[LABEL_PERSON] == label, "somebody else's data"
            assert volumes[volume].trashed_at is None, "it runs on data in the trash"

    async def _look(self):
        """Have the hub look at what it believes to run, as it does every five seconds."""
        for user in list(self.hub.app.users.values()):
            for server, spawner in list(user.spawners.items()):
                if spawner.ready and await spawner.poll() is not None:
                    await user.stop(server)
                    self.told.pop((user.name, server), None)

    # commands

    async def _together(self, batch):
        await asyncio.gather(*(self._do(*each) for each in batch))

    async def _do(self, command, place, after):
        """Do one command if the hub accepts it now, as its handlers decide that."""
        for _ in range(after):
            await asyncio.sleep(0.002)
        name, server = place
        user = self.hub.user(name)
        spawner = user.spawners[server] if server in user.orm_spawners else None
        if spawner is not None and spawner.pending:
            return  # refused
        try:
            await getattr(self, f"_{command}")(user, server, spawner)
        except Exception as error:  # noqa: BLE001 - refused, or it failed
            self.moments.append((command, place, repr(error)))

    async def _start(self, user, server, spawner):
        if spawner is not None and spawner.active:
            return
        spawner = user.get_or_create_spawner(server, server)
        spawner._spawn_pending = True
        try:
            await user.spawn(server)
            self.told[user.name, server] = "runs"
        finally:
            spawner._spawn_pending = False

    async def _stop(self, user, server, spawner):
        if spawner is None or not spawner.active:
            return
        spawner._stop_pending = True
        try:
            await user.stop(server)
            self.told[user.name, server] = "stopped"
        finally:
            spawner._stop_pending = False

    async def _delete(self, user, server, spawner):
        if spawner is None or not server:
            return
        await self._stop(user, server, spawner)
        spawner = user.spawners[server]
        if spawner.active:
            return
        spawner._stop_pending = True
        try:
            await spawner.delete_forever()
            self.hub.app.db.delete(spawner.orm_spawner)
            user.spawners.pop(server, None)
            self.hub.app.db.commit()
            self.told[user.name, server] = "gone"
        finally:
            spawner._stop_pending = False

    async def _expire(self, user, server, spawner):
        if spawner is None or not spawner.ready:
            return
        spawner.put_off(int(time.time() + self.hub.shift) - 10)
        spawner.orm_spawner.state = spawner.get_state()
        self.hub.app.db.commit()
        await self.hub.make_cleanup(self._note_removal).run(Task.EXPIRED)

    def _note_removal(self, event, about, server, **_):
        # At once: it may be started again before the pass has ended.
        self.told[about, server] = "gone"

    async def _cull(self, user, server, spawner):
        """Nobody has used it for long, and the hub looks; a schedule stops in the same way."""
        if spawner is None or not spawner.ready:
            return
        row = spawner.orm_spawner
        row.started = row.last_activity = datetime.now(UTC).replace(tzinfo=None) - CULLED_AFTER
        self.hub.app.db.commit()
        settings = Settings(mlhub_cull_enabled=True)
        culler = Culler(self.hub.app, settings, self._note_stop)
        await culler.look()
        await culler.finish()

    def _note_stop(self, event, about, server, **_):
        # At once, as above.
        self.told[about, server] = "stopped"

    async def _update(self, user, server, spawner):
        if spawner is not None and spawner.ready:
            self.publish()
            await spawner.begin_update()

    async def _rename(self, user, server, spawner):
        if spawner is None:
            return
        try:
            await spawner.rename(server, "other")
        except Exception:  # noqa: BLE001 - refused, as it has to be
            return
        raise AssertionError("a server was renamed")

    async def _restore(self, user, server, spawner):
        trash = self.hub.make_trash()
        items = await trash.list_own(user)
        if items and spawner is None:
            await trash.restore(items[0], user, server)
            self.told.pop((user.name, server), None)

    async def _die(self, user, server, spawner):
        if spawner is not None and spawner.ready:
            await self.kill_workspace(self.hub.identity(user.name, server))
            self.told.pop((user.name, server), None)
            deadline = time.monotonic() + 10
            # One list of the engine answers many looks; another command may end it as well.
            while spawner.ready and await spawner.poll() is None:
                assert time.monotonic() < deadline, "the end of a workspace goes unnoticed"
                await asyncio.sleep(0.1)
