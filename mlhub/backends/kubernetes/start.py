"""One start of one workspace: use its pod as it is, or make it, and wait until it answers.

Invariants: the workspace is asked as soon as it has an address; nothing waits for the cluster to
call it ready. What cannot become a workspace any more ends the start at once, with a sentence and
its last lines. Nothing here knows of the hub, of a spawner or of a policy.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from mlhub.backends.adoption import TOKEN_VARIABLE
from mlhub.backends.kubernetes import pods
from mlhub.backends.kubernetes.client import UNANSWERED
from mlhub.backends.kubernetes.inventory import KubernetesBackend
from mlhub.backends.kubernetes.names import owns
from mlhub.backends.kubernetes.volumes import CLAIM, NO_CLAIM, Claim
from mlhub.backends.readiness import INTERVAL_SECONDS, answers, quote_last_words
from mlhub.errors import (
    BackendError,
    CapacityError,
    ConfigurationError,
    ImageError,
    NameTakenError,
    WorkspaceDiedError,
)
from mlhub.identity import Identity
from mlhub.texts import Text
from mlhub.workspaces.port import Address

Pod = dict[str, Any]  # as the API describes it
Report = Callable[[float, str], None]
_log = logging.getLogger(__name__)

LOG_LINES = 20
# Pauses between two looks grow with the wait, or a hundred starts at once would keep the hub busy
# with looking.
WAITING_SHARE = 0.01
# The watch may be behind, or gone: every now and then the API itself is asked.
ASK_SECONDS = 2.0
# A little before JupyterHub gives up, with less to say about it.
MARGIN_SECONDS = 2.0
CLAIM_SECONDS = 5.0
_OWN_PATHS = ("", f"spec.containers{{{pods.CONTAINER}}}")
_STEPS = {"Scheduled": 15, "Pulling": 20, "Pulled": 60, "Created": 70, "Started": 75}


@dataclass(frozen=True)
class Target:
    """Which workspace is started, and how long that may take; times are in seconds.

    ``path`` is where it answers HTTP. None: JupyterHub itself asks, with the certificates that it
    has. ``token`` is in the workspace's environment, and no other start has the same.
    """

    identity: Identity
    pod_name: str
    path: str | None
    start_timeout: float = 60
    http_timeout: float = 30
    grace_seconds: int = 10
    token: str = ""


class Start:
    """Start one workspace: first ``find``; where that pod is not used, ``make``; then ``wait``.

    ``look`` returns the pod as a watch knows it, or None.
    """

    def __init__(
        self,
        backend: KubernetesBackend,
        target: Target,
        *,
        look: Callable[[], Pod | None] = lambda: None,
        report: Report = lambda percent, message: None,
        log: Any = _log,
    ) -> None:
        self.backend, self.api, self.target = backend, backend.api, target
        self.look, self.report, self.log = look, report, log
        self.began = self._asked_at = time.monotonic()
        self._pod: Pod | None = None
        self._claim = NO_CLAIM
        self._missed_at: float | None = None

    @contextmanager
    def listen(self) -> Iterator[None]:
        """Report what the cluster says about the pod, as long as the block runs."""
        with self.backend.events.listen(self.target.pod_name, self._tell):
            yield

    async def find(self) -> Pod | None:
        """Find the pod that bears the workspace's name. Raises ``NameTakenError``."""
        self._pod = await self.backend.find_pod(self.target.identity, self.target.pod_name)
        return self._pod

    async def make_room(self) -> None:
        """Remove the pod that was found."""
        if self._pod is not None:
            grace = self.target.grace_seconds if pods.is_usable(self._pod) else 0
            await self.backend.remove_pod(self.target.identity, self.target.pod_name, grace)

    async def make(self, manifest: Any, claim: Claim = NO_CLAIM) -> Pod:
        """Make the pod, which mounts the claim."""
        self._claim = claim
        self.report(10, Text("Asking the cluster for a place"))
        self._pod = await self.api.create("pod", manifest) or await self._find_made()
        if self._pod is None:
            raise NameTakenError(
                f"A pod named {self.target.pod_name!r} was made by somebody else just now. Start"
                " the workspace again."
            )
        return self._pod

    async def _find_made(self) -> Pod | None:
        """Find the pod that this start has made without hearing of it: the answer was lost, and
        the second call met what the first one had made.
        """
        found = await self.api.read("pod", self.target.pod_name)
        if found is None or not owns(self.target.identity, found):
            return None
        token = pods.read_environment(found).get(TOKEN_VARIABLE)
        return found if token and token == self.target.token else None

    async def wait(self) -> Pod:
        """Wait until the workspace answers, and return its pod; what was made for the first start
        of an image that does not start is removed.
        """
        try:
            pod = await self._wait()
        except ImageError:
            await self._remove_new()
            raise
        self.log.info("Workspace %s answers after %.1f s", self.target.pod_name, self._seconds)
        return pod

    async def _wait(self) -> Pod:
        deadline = self.began + max(self.target.start_timeout - MARGIN_SECONDS, 1)
        answer_deadline, hindrance = None, ""
        while True:
            pod = await self._look()
            if failure := pods.find_failure(pod):
                raise type(failure)(f"{failure}{await self._read_last_words(failure)}")
            assert pod is not None  # else it has failed
            now, address = time.monotonic(), pods.read_address(pod)
            if address and await self._answers(pod, address):
                return pod
            if address and pods.is_running(pod):
                self.report(80, Text("Waiting for the workspace to answer"))
                answer_deadline = answer_deadline or now + self.target.http_timeout
            elif not address and (found := pods.find_hindrance(pod)) != hindrance:
                hindrance = found
                self.report(12, f"Waiting: {hindrance}") if hindrance else None
            await self._refuse_missing_claim(pod, now)
            if address and answer_deadline and now > answer_deadline:
                raise await self._make_silent_error(address)
            if now > deadline:
                raise self._make_late_error(hindrance)
            await asyncio.sleep(max(INTERVAL_SECONDS, (now - self.began) * WAITING_SHARE))

    async def _refuse_missing_claim(self, pod: Pod, now: float) -> None:
        """End a start that waits for a claim which nobody makes; one that was made just now may
        take the scheduler a while to see.
        """
        claim = pods.find_missing_claim(pod)
        self._missed_at = (self._missed_at or now) if claim else None
        if self._missed_at is None or now - self._missed_at <= CLAIM_SECONDS:
            return
        self._missed_at = now  # looked at again after as long
        if await self.api.read(CLAIM, claim) is None:
            raise ConfigurationError(
                f"The workspace's pod mounts the volume claim {claim!r}, which does not exist."
                " Make it, or correct what the site adds to pods (c.KubeSpawner.volumes)."
            )

    async def _answers(self, pod: Pod, address: Address) -> bool:
        if self.target.path is None:
            return pods.is_running(pod)
        return await answers(address.host, address.port, self.target.path)

    async def _look(self) -> Pod | None:
        """Return the pod as it is now, as far as is known; None where it is gone."""
        assert self._pod is not None
        uid = self._pod["metadata"]["uid"]
        found = self.look()
        if found is not None and found["metadata"]["uid"] == uid:
            return found
        if time.monotonic() - self._asked_at < ASK_SECONDS:
            return {"metadata": {"uid": uid}, "spec": self._pod["spec"], "status": {}}
        self._asked_at = time.monotonic()
        found = await self.api.read("pod", self.target.pod_name)
        return found if found and found["metadata"]["uid"] == uid else None

    async def _remove_new(self) -> None:
        """Remove the claim that this very start made, for its workspace never ran, and with the
        pod the network of a person who has nothing else.
        """
        if self._claim.new_uid:
            try:
                await self.api.delete(CLAIM, self._claim.name, self._claim.new_uid)
                await self.backend.remove_pod(self.target.identity, self.target.pod_name)
                await self.backend.leave_network(self.target.identity)
            except (*UNANSWERED, BackendError) as error:
                self.log.warning(
                    "What was made for %s, and is empty, is not removed: %s",
                    *(self.target.pod_name, error),
                )

    def _tell(self, event: dict[str, Any]) -> None:
        """Tell whoever watches the start what the cluster says about the pod, or about the
        workspace in it.
        """
        reason, message = event.get("reason", ""), str(event.get("message") or "")
        if (
            event.get("involvedObject", {}).get("fieldPath", "") not in _OWN_PATHS
            or reason == "Unhealthy"
        ):
            return
        if reason in _STEPS or event.get("type") == "Warning":
            self.report(_STEPS.get(reason, 0), message[:500])

    async def _read_last_words(self, failure: Exception) -> str:
        if not isinstance(failure, WorkspaceDiedError):
            return ""
        lines = await self.api.read_log(self.target.pod_name, pods.CONTAINER, LOG_LINES)
        return f" {quote_last_words(lines)}"

    async def _make_silent_error(self, address: Address) -> WorkspaceDiedError:
        error = WorkspaceDiedError(
            f"The workspace did not answer on port {address.port} within"
            f" {self.target.http_timeout} seconds."
        )
        return WorkspaceDiedError(f"{error}{await self._read_last_words(error)}")

    def _make_late_error(self, hindrance: str) -> BackendError:
        if "PersistentVolumeClaim" in hindrance:
            return BackendError(
                f"The cluster had no volume for this workspace within {int(self._seconds)} s:"
                f" {hindrance} Ask your administrator to look at the claim and its StorageClass"
                " (singleuser.storage.storageClass)."
            )
        if hindrance:
            return CapacityError(
                f"The cluster found no place for this workspace within {int(self._seconds)} s:"
                f" {hindrance} Ask for less, or try again later."
            )
        return BackendError(
            f"The workspace did not come up within {int(self._seconds)} s. Start it again; an"
            f" administrator sees its pod {self.target.pod_name}."
        )

    @property
    def _seconds(self) -> float:
        return time.monotonic() - self.began
