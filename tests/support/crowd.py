"""Many people of a hub at hand, and what they have where workspaces run. Each thing is made by one
call of the place, as the hub would label it: nothing of it has to start.
"""

from __future__ import annotations

import asyncio
import time

from jupyterhub import orm

from mlhub.backends.docker.volumes import LABEL_TRASHED
from mlhub.backends.kubernetes.inventory import POLICY
from mlhub.backends.kubernetes.volumes import CLAIM
from mlhub.backends.trash import LABEL_GENERATION
from mlhub.identity import LABEL_SERVER, Identity
from mlhub.workspaces.holder import LABEL_PERSON, PersonKey, ensure_keys
from mlhub.workspaces.port import Kind, Reason
from tests.support.cluster import KubernetesHub
from tests.support.engine import LABEL

DAY = 86_400
AT_ONCE = 8
# What becomes of some people, and the server with which it does.
FATES = {"stays": "", "lasts": "over", "expires": "over", "leaves": "", "loses": "gone"}
DAYS = {"lasts": 30, "expires": 1}


def add_people(hub, names):
    """Add people to a hub's database."""
    member = [orm.Role.find(hub.db, "user")]
    hub.db.add_all(orm.User(name=name, roles=member) for name in names)
    hub.db.commit()


class Crowd:
    """People of a hub. All have data; some of each fate a workspace that does not run, with its
    data, and a network. A subclass makes these things.
    """

    def __init__(self, hub, count, some):
        self.hub, self.some = hub, some
        self.names = [f"person-{number}" for number in range(count)]
        self.turns = asyncio.Semaphore(AT_ONCE)
        add_people(hub, self.names)
        rest = iter(self.names)
        self.fates = {fate: [next(rest) for _ in range(some)] for fate in FATES}
        self.overdue, self.recent = ([next(rest) for _ in range(some)] for _ in range(2))
        for fate, names in self.fates.items():
            days = DAYS.get(fate)
            state = {"expires_at": int(time.time()) + days * DAY} if days else {}
            for name in names:
                row = hub.user(name).orm_user
                hub.db.add(orm.Spawner(user=row, name=FATES[fate], state=state))
        hub.db.commit()
        database = ensure_keys(hub.db).key
        keys = hub.db.query(PersonKey.name, PersonKey.key)
        self.labels = {name: {LABEL_PERSON: f"{database}.{key}"} for name, key in keys}

    def identify(self, name, server=""):
        return Identity(self.hub.hub_name, name, server)

    def identify_all(self, fate):
        """Return the workspaces of those of a fate."""
        return [self.identify(name, FATES[fate]) for name in self.fates[fate]]

    async def fill(self):
        """Make what all have, and what is not theirs although it is called so."""
        some = [each for fate in FATES for each in self.identify_all(fate)]
        all_own = {*some, *map(self.identify, self.names)}
        leaving = self.identify_all("leaves")
        await self.do(
            *(self.make_volume(each.volume(1), self.label(each)) for each in all_own),
            *(self.make_workspace(each, self.label(each)) for each in some),
            *(self.make_network(each) for each in some),
            # Of another hub; and labeled in part.
            *(self.make_volume(each.volume(2), self.label_for_other(each)) for each in leaving),
            *(self.make_volume(each.volume(3), each.user_labels) for each in leaving),
        )

    async def add_ghost(self, name):
        """Make what somebody has whom the hub never knew."""
        identity = self.identify(name)
        await self.make_volume(identity.volume(1), self.label(identity))
        await self.make_workspace(identity, self.label(identity))

    def label(self, identity):
        return {**identity.labels, LABEL_GENERATION: "1", **self.labels.get(identity.user, {})}

    @staticmethod
    def label_for_other(identity):
        return {**Identity("other", identity.user, identity.server).labels, LABEL_GENERATION: "2"}

    async def do(self, *calls):
        async def take_turn(call):
            async with self.turns:
                await call

        await asyncio.gather(*map(take_turn, calls))

    async def put_into_trash(self, days, names):
        """Put the data of people into the trash, as if so many days ago."""
        at = int(time.time()) - days * DAY
        volumes = await self.list_volumes()
        marked = [each for each in volumes if each.user in names]
        await self.do(*(self.hub.backend.volumes.mark(each, at, Reason.DELETED) for each in marked))

    def lose(self):
        """Have people and servers leave the database, as another program would."""
        for name in self.fates["leaves"]:
            self.hub.forget(name)
        for name in self.fates["loses"]:
            user = self.hub.user(name)
            self.hub.db.delete(user.orm_spawners["gone"])
        self.hub.db.commit()

    async def list_volumes(self):
        found = await self.hub.backend.list_resources()
        return [each for each in found if each.kind is Kind.VOLUME]

    async def list_trash(self):
        """Return the names of what is in the trash."""
        return {each.name for each in await self.list_volumes() if each.trashed_at is not None}

    async def make_volume(self, name, labels):
        raise NotImplementedError

    async def make_workspace(self, identity, labels):
        raise NotImplementedError

    async def make_network(self, identity):
        raise NotImplementedError

    async def look(self):
        """Return all that there is, anybody's, by kinds and names: which one it is, and its
        labels.
        """
        raise NotImplementedError

    def name(self, kind, identity):
        """Name what ``look`` finds of a kind of thing."""
        raise NotImplementedError


class DockerCrowd(Crowd):
    """On an engine: containers that never started."""

    def call(self, method, *arguments, **named):
        return self.hub.backend.engine.call(method, *arguments, **named)

    async def make_volume(self, name, labels):
        await self.call("create_volume", name, labels={**LABEL, **labels})

    async def make_workspace(self, identity, labels):
        host_config = await self.call("create_host_config", network_mode="none")
        image, labels = self.hub.spawner.image, {**LABEL, **labels}
        named = {"name": identity.container, "labels": labels, "host_config": host_config}
        await self.call("create_container", image, **named)

    async def make_network(self, identity):
        await self.hub.backend.networks.ensure(identity)

    async def look(self):
        filters = {"label": [f"{key}={value}" for key, value in LABEL.items()]}
        containers = await self.call("containers", all=True, filters=filters)
        networks = await self.call("networks", filters=filters)
        volumes = (await self.call("volumes", filters=filters))["Volumes"]
        found = {("container", each["Names"][0][1:]): each for each in containers}
        found |= {("network", each["Name"]): each for each in networks}
        found |= {("volume", each["Name"]): each for each in volumes}
        return {
            key: (each.get("Id") or each["CreatedAt"], each["Labels"])
            for key, each in found.items()
            if LABEL_TRASHED not in each["Labels"]
        }

    def name(self, kind, identity):
        return {
            Kind.WORKSPACE: {("container", identity.container)},
            Kind.VOLUME: {("volume", identity.volume(1))},
            Kind.NETWORK: {("network", identity.network)},
        }[kind]


class KubernetesCrowd(Crowd):
    """In a cluster: claims that nothing has bound, and pods that no node takes."""

    async def create(self, kind, name, labels, spec):
        identity = Identity.from_labels(labels)
        words = identity.safe_labels if LABEL_SERVER in labels else identity.safe_user_labels
        raw = {key: value for key, value in labels.items() if key in words}
        metadata = {"name": name, "labels": {**labels, **words}, "annotations": raw}
        assert await self.hub.backend.api.create(kind, {"metadata": metadata, "spec": spec})

    async def make_volume(self, name, labels):
        size = {"requests": {"storage": "16Mi"}}
        await self.create(
            CLAIM, name, labels, {"accessModes": ["ReadWriteOnce"], "resources": size}
        )

    async def make_workspace(self, identity, labels):
        container = {
            "name": "notebook",
            "image": "nowhere",
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
            },
        }
        pod = {
            "containers": [container],
            "nodeSelector": {"mlhub.test/node": "none"},
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 1000,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
        }
        name = identity.container
        await self.create("pod", name, labels, pod)
        service = {"clusterIP": "None", "selector": identity.safe_labels}
        await self.create("service", name, labels, service)

    async def make_network(self, identity):
        await self.hub.backend.ensure_network(identity)

    async def look(self):
        kinds = ("pod", "service", POLICY, CLAIM)
        api = self.hub.backend.api
        found = {
            (kind, each["metadata"]["name"]): each["metadata"]
            for kind in kinds
            for each in await api.list_all(kind, "")
            if "deletionTimestamp" not in each["metadata"]
        }
        return {key: (each["uid"], read_labels(each)) for key, each in found.items()}

    def name(self, kind, identity):
        return {
            Kind.WORKSPACE: {("pod", identity.container), ("service", identity.container)},
            Kind.VOLUME: {(CLAIM, identity.volume(1))},
            Kind.NETWORK: {(POLICY, identity.network_policy)},
        }[kind]


def read_labels(metadata):
    """Return an object's labels without those of the trash, and our annotations."""
    labels = metadata.get("labels") or {}
    notes = metadata.get("annotations") or {}
    return (
        {key: value for key, value in labels.items() if "trashed" not in key},
        {key: value for key, value in notes.items() if "mlhub." in key},
    )


def make_crowd(hub, count, some):
    """Make people of a hub, and the way to make what they have."""
    kind = KubernetesCrowd if isinstance(hub, KubernetesHub) else DockerCrowd
    return kind(hub, count, some)
