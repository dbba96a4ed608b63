"""A file on the volume of a workspace that runs, on each backend."""

from __future__ import annotations

import asyncio
from contextlib import closing

import docker

from mlhub.identity import Identity
from tests.support.cluster import write

FILE = "/workspace/kept"


class Files:
    """Where nothing is stored, a file is a line in memory beside the name of its volume."""

    def __init__(self, hub):
        self.hub, self.texts = hub, {}

    async def write(self, user, server, text):
        self.texts[self.find_volume(user, server)] = text

    async def read(self, user, server):
        return self.texts.get(self.find_volume(user, server))

    def find_volume(self, user, server):
        return self.hub.backend.records[Identity(self.hub.hub_name, user, server)].volume


class CommandFiles(Files):
    """Where commands run in workspaces."""

    def run(self, spawner, command):
        raise NotImplementedError

    async def write(self, user, server, text):
        await self.do(user, server, f"printf {text} >{FILE}")

    async def read(self, user, server):
        return await self.do(user, server, f"cat {FILE}")

    async def do(self, user, server, command):
        spawner = self.hub.user(user).spawners[server]
        return (await asyncio.to_thread(self.run, spawner, command)).strip()


class DockerFiles(CommandFiles):
    """On an engine."""

    def run(self, spawner, command):
        with closing(docker.from_env()) as engine:
            container = engine.containers.get(spawner.workspace_name)
            return container.exec_run(["sh", "-c", command]).output.decode()


class KubernetesFiles(CommandFiles):
    """In a cluster."""

    def run(self, spawner, command):
        return write(self.hub, spawner.pod_name, command)
