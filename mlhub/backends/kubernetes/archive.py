"""The claims of one hub as streams, by way of a pod beside each claim that runs our own program
(``claim_files.py``), which the hub asks as it asks workspaces.

It takes no right that a hub has not anyway: it makes pods, and speaks to those that carry the label
of its workspaces. What uses a claim goes on meanwhile, for nothing holds a pod still.
"""

from __future__ import annotations

import asyncio
import atexit
import http.client
import inspect
import json
import secrets
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from kubespawner.clients import load_config

from mlhub import errors
from mlhub.backends.kubernetes import claim_files, pods
from mlhub.backends.kubernetes.checkup import read_namespace
from mlhub.backends.kubernetes.client import Api, friendly_errors
from mlhub.backends.kubernetes.names import make_selector, read_raw_labels
from mlhub.backends.kubernetes.volumes import CLAIM
from mlhub.backends.volume_archive import KeptVolume
from mlhub.errors import BackendError, NameTakenError
from mlhub.identity import LABEL_ORIGIN
from mlhub.settings import Settings

# Of a claim, what the cluster made of it is not kept.
KEPT_ANNOTATIONS = "mlhub."
KEPT_SPEC = ("accessModes", "resources", "storageClassName", "volumeMode")
LABEL_CLAIM = "mlhub.claim"
COMPONENT = "singleuser-server"
READY_SECONDS, LOOK_SECONDS, ANSWER_SECONDS = 180.0, 0.2, 600.0
LONGEST_SECONDS = 6 * 3600  # after which the cluster ends a pod that nobody has removed
PIECE_BYTES, LOG_LINES = 2**16, 5
# As which user it reads and writes: the one of images that say nothing else.
UID, GID = 1000, 100


@dataclass(frozen=True)
class Place:
    """Where the pods go, and what they are made of."""

    namespace: str
    image: str
    pull_secrets: tuple[Mapping[str, str], ...] = ()


class KubernetesVolumeArchive:
    """Read and write the claims of one hub."""

    def __init__(self, settings: Settings, place: Place | None = None) -> None:
        self._hub_name, self._place = settings.hub_name, place
        self._runner = asyncio.Runner()
        atexit.register(self._runner.close)
        load_config()
        self._api = Api(place.namespace if place else read_namespace())

    def list_volumes(self) -> list[KeptVolume]:
        found = self._run(self._api.list_all, CLAIM, make_selector(self._hub_name))
        lasting = [each for each in found if "deletionTimestamp" not in each["metadata"]]
        return sorted(map(_describe, lasting), key=lambda volume: volume.name)

    @contextmanager
    def read(self, name: str) -> Iterator[Iterator[bytes]]:
        # A pod waits for a claim that is gone, as for one that comes yet.
        if self._run(self._api.read, CLAIM, name) is None:
            raise BackendError(f"There is no claim {name!r} any more.")
        with self._beside(name, is_read_only=True) as files:
            yield files.hand_out()

    def create(self, volume: KeptVolume) -> None:
        claim = json.loads(volume.labels[LABEL_CLAIM])
        claim["metadata"]["name"] = volume.name
        if self._run(self._api.create, CLAIM, claim) is None:
            raise NameTakenError(
                f"There is a claim {volume.name!r} in the namespace, and what is in it stays."
                " Restore to a namespace without it, or remove it first."
            )

    def write(self, name: str, content: Iterable[bytes]) -> None:
        with self._beside(name, is_read_only=False) as files:
            files.take_in(content)

    def remove(self, name: str) -> None:
        self._run(self._api.delete, CLAIM, name)

    def _run(self, call: Callable[..., Any], *arguments: Any) -> Any:
        async def do() -> Any:
            with friendly_errors():
                return await call(*arguments)

        return self._runner.run(do())

    @contextmanager
    def _beside(self, claim: str, is_read_only: bool) -> Iterator[ClaimFiles]:
        """Have a pod with a claim, and ask it for the files."""
        name, token = f"{self._hub_name}-backup-{secrets.token_hex(4)}", secrets.token_hex(16)
        pod = _make_pod(self._hub_name, self._find_place(), name, token)
        source = {"claimName": claim, "readOnly": is_read_only}
        pod["spec"]["volumes"] = [{"name": "files", "persistentVolumeClaim": source}]
        if node := self._find_node(claim):
            pod["spec"]["nodeName"] = node
        self._run(self._api.create, "pod", pod)
        try:
            address = self._wait(name, claim)
            yield ClaimFiles(address, token, partial(self._explain, name, claim))
        finally:
            self._run(self._api.delete, "pod", name, None, 0)

    def _explain(self, pod: str, claim: str, error: Exception) -> BackendError:
        said = self._run(self._api.read_log, pod, pods.CONTAINER, LOG_LINES) or repr(error)
        return BackendError(f"The files of the claim {claim!r} do not come: {said}")

    def _wait(self, name: str, claim: str) -> str:
        """Return the pod's address once its program listens."""
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            pod = self._run(self._api.read, "pod", name)
            if failure := pods.find_failure(pod):
                raise BackendError(f"No pod can have the claim {claim!r}: {failure}")
            address = pods.read_ip(pod)
            with suppress(OSError):
                if address:
                    socket.create_connection((address, claim_files.PORT), 1).close()
                    return address
            time.sleep(LOOK_SECONDS)
        raise BackendError(
            f"No pod had the claim {claim!r} within {READY_SECONDS:.0f} s. Where another pod has it"
            " for itself, stop that one."
        )

    def _find_node(self, claim: str) -> str:
        """Return the node on which a claim is in use, "" for any: many a volume is of one node."""
        found = self._run(self._api.list_all, "pod", make_selector(self._hub_name))
        using = (each for each in found if claim in pods.list_claims(each) and pods.is_alive(each))
        return next((str(each["spec"].get("nodeName") or "") for each in using), "")

    def _find_place(self) -> Place:
        if self._place is None:
            own = self._run(self._api.read, "pod", socket.gethostname())
            if own is None:
                raise BackendError(
                    "This is no pod of the cluster that it speaks to. Run it in the hub's own pod:"
                    " kubectl exec deploy/<hub> -- mlhub backup --volumes."
                )
            spec = own["spec"]
            image, secrets_ = spec["containers"][0]["image"], spec.get("imagePullSecrets") or ()
            self._place = Place(self._api.namespace, image, tuple(secrets_))
        return self._place


def _describe(claim: dict[str, Any]) -> KeptVolume:
    metadata, spec = claim["metadata"], claim["spec"]
    kept = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "labels": metadata.get("labels") or {},
            "annotations": {
                key: text
                for key, text in (metadata.get("annotations") or {}).items()
                if key.startswith(KEPT_ANNOTATIONS)
            },
        },
        "spec": {key: spec[key] for key in KEPT_SPEC if key in spec},
    }
    return KeptVolume(
        metadata["name"], {**read_raw_labels(claim), LABEL_CLAIM: json.dumps(kept, sort_keys=True)}
    )


def _make_pod(hub: str, place: Place, name: str, token: str) -> dict[str, Any]:
    """Make a pod that Pod Security "restricted" admits; the labels are those by which the chart's
    NetworkPolicies know workspaces, and it names no owner, so nobody takes it for one.
    """
    container = {
        "name": pods.CONTAINER,
        "image": place.image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-I", "-c", inspect.getsource(claim_files)],
        "env": [{"name": "TOKEN", "value": token}],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "files", "mountPath": claim_files.PLACE}],
    }
    spec = {
        "restartPolicy": "Never",
        "activeDeadlineSeconds": LONGEST_SECONDS,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "imagePullSecrets": list(place.pull_secrets),
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": UID,
            "runAsGroup": UID,
            "fsGroup": GID,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
    }
    labels = {LABEL_ORIGIN: hub, "component": COMPONENT}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels},
        "spec": spec,
    }


class ClaimFiles:
    """The files of a claim, as the program beside it hands them out and takes them in."""

    def __init__(
        self, address: str, token: str, explain: Callable[[Exception], BackendError]
    ) -> None:
        self._address, self._token, self._explain = address, token, explain

    def hand_out(self) -> Iterator[bytes]:
        """Return the archive of all files, piece by piece."""
        with self._friendly_errors():
            return self._stream(self._ask("GET"))

    def take_in(self, content: Iterable[bytes]) -> None:
        """Write the files of an archive."""
        with self._friendly_errors():
            self._ask("PUT", content)

    def _stream(self, response: http.client.HTTPResponse) -> Iterator[bytes]:
        with self._friendly_errors():
            while data := response.read(PIECE_BYTES):
                yield data

    def _friendly_errors(self) -> AbstractContextManager[None]:
        return errors.friendly_errors(self._explain, (OSError, http.client.HTTPException))

    def _ask(self, method: str, content: Iterable[bytes] | None = None) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection(
            self._address, claim_files.PORT, timeout=ANSWER_SECONDS
        )
        headers = {"Authorization": f"Bearer {self._token}"}
        if content is not None:
            headers["Transfer-Encoding"] = "chunked"
        connection.request(method, "/", content, headers, encode_chunked=content is not None)
        response = connection.getresponse()
        if response.status >= 400:
            raise http.client.HTTPException(f"{response.status} {response.reason}")
        return response
