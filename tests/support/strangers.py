"""Things that the hub did not make, beside those that it made, on each backend."""

from contextlib import closing

import docker

from mlhub.backends.inventory import make_resource
from mlhub.backends.memory import MemoryBackend
from mlhub.identity import LABEL_ORIGIN, make_label_value
from mlhub.workspaces.port import Kind
from tests.support.engine import LABEL


class Strangers:
    """Make volumes with any labels, and describe them."""

    def __init__(self, hub):
        self.hub = hub

    def make(self, name, labels):
        backend = type(self.hub.backend).of(labels.get(LABEL_ORIGIN, ""))
        made = make_resource(Kind.VOLUME, name, labels, 0.0)
        backend.volumes.update({} if made is None else {name: made})
        return name

    def describe(self, name):
        return [backend.volumes.get(name) for backend in MemoryBackend.backends.values()]


class DockerStrangers(Strangers):
    """The same on an engine, whose names are everybody's."""

    def make(self, name, labels):
        name = name if self.hub.hub_name in name else f"{self.hub.hub_name}-{name}"
        with closing(docker.from_env()) as engine:
            engine.volumes.create(name, labels={**labels, **LABEL})
        return name

    def describe(self, name):
        with closing(docker.from_env()) as engine:
            return engine.volumes.get(name).attrs


class KubernetesStrangers(Strangers):
    """The same in a cluster."""

    def make(self, name, labels):
        claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "16Mi"}}}
        metadata = {
            "name": name,
            "namespace": self.hub.namespace,
            "annotations": labels,
            "labels": {key: make_label_value(value) for key, value in labels.items()},
        }
        self.hub.cluster.apply(
            {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": metadata,
                "spec": claim,
            }
        )
        return name

    def describe(self, name):
        found = self.hub.cluster.read("--namespace", self.hub.namespace, "pvc", name)["metadata"]
        # The cluster notes on a claim who provides its volume.
        notes = {key: each for key, each in found["annotations"].items() if "mlhub." in key}
        return found["uid"], found.get("labels"), notes
