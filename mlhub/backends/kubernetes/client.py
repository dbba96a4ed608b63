"""The cluster's API: calls that are tried again where that helps, and errors as sentences.

Invariants: nothing here blocks the event loop; a call that the API server does not answer ends
after a deadline.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable
from contextlib import AbstractContextManager
from typing import Any

import aiohttp
from kubernetes_asyncio.client import ApiException
from kubespawner.clients import shared_client

from mlhub import errors
from mlhub.backends.background import await_to_the_end
from mlhub.backends.kubernetes.refusals import PASSING, make_error
from mlhub.errors import EngineUnreachableError

CALL_SECONDS = 10.0
ATTEMPTS = 4
PAUSE_SECONDS = 0.5
PAGE = 500
LOG_BYTES = 2**20  # twenty lines may be of any length
UNANSWERED = (ApiException, aiohttp.ClientError, TimeoutError, ConnectionError)
_APIS = {"network_policy": "NetworkingV1Api"}


class Api:
    """Call the API for the objects of one namespace; objects come back as plain dicts, as the API
    writes them.
    """

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace

    async def list_all(self, kind: str, selector: str) -> list[dict[str, Any]]:
        """List all objects of a kind with these labels, page by page."""
        found: list[dict[str, Any]] = []
        token = ""
        while True:
            page = await self._call(
                f"list_namespaced_{kind}",
                kind,
                self.namespace,
                label_selector=selector,
                limit=PAGE,
                _continue=token,
            )
            if not isinstance(page.get("items"), list):
                raise EngineUnreachableError(
                    f"The Kubernetes API was asked for a list, and answered {str(page)[:100]!r}."
                    " Look at what stands between the hub and the API."
                )
            found += page["items"]
            token = (page.get("metadata") or {}).get("continue") or ""
            if not token:
                return found

    async def read(self, kind: str, name: str) -> dict[str, Any] | None:
        """Return an object, or None where there is none."""
        return await self._unless(
            404, self._call(f"read_namespaced_{kind}", kind, name, self.namespace)
        )

    async def create(self, kind: str, body: Any) -> dict[str, Any] | None:
        """Create an object and return it; None where one of that name exists."""
        return await await_to_the_end(
            self._unless(409, self._call(f"create_namespaced_{kind}", kind, self.namespace, body))
        )

    async def patch(self, kind: str, name: str, body: dict[str, Any]) -> dict[str, Any] | None:
        """Change parts of an object and return it; None where there is none."""
        return await self._unless(
            404, self._call(f"patch_namespaced_{kind}", kind, name, self.namespace, body)
        )

    async def delete(
        self, kind: str, name: str, uid: str | None = None, grace_seconds: int | None = None
    ) -> None:
        """Delete an object, where ``uid`` is given only that very one; what is gone already is no
        error.
        """
        body: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
        }
        if uid:
            body["preconditions"] = {"uid": uid}
        if grace_seconds is not None:
            body["gracePeriodSeconds"] = grace_seconds
        call = self._call(f"delete_namespaced_{kind}", kind, name, self.namespace, body=body)
        await await_to_the_end(self._unless(409 if uid else 404, self._unless(404, call)))

    async def list_nodes(self) -> list[dict[str, Any]]:
        """List the cluster's nodes."""
        return list((await self._call("list_node", "node"))["items"])

    async def read_log(self, pod: str, container: str, lines: int) -> str:
        """Return the last lines of a container's log, also of one that ended; empty where there is
        none.
        """
        for previous in (False, True):
            try:
                response = await self._fetch(
                    "read_namespaced_pod_log",
                    "pod",
                    pod,
                    self.namespace,
                    container=container,
                    tail_lines=lines,
                    limit_bytes=LOG_BYTES,
                    previous=previous,
                )
            except ApiException:
                continue
            if text := response.decode(errors="replace").strip():
                return text
        return ""

    async def watch_pod_events(self) -> AsyncIterator[dict[str, Any]]:
        """Yield the events about pods from now on, until the caller has enough."""
        from kubernetes_asyncio import watch

        client = shared_client("CoreV1Api")
        selector = "involvedObject.kind=Pod"
        version = (
            await client.list_namespaced_event(self.namespace, field_selector=selector, limit=1)
        ).metadata.resource_version
        # As plain data: to make models of events takes longer than everything else about them.
        async with watch.Watch(return_type="object").stream(
            client.list_namespaced_event,
            self.namespace,
            field_selector=selector,
            resource_version=version,
        ) as stream:
            async for event in stream:
                yield event["raw_object"]

    async def _call(self, method: str, kind: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        body = await self._fetch(method, kind, *args, **kwargs)
        try:
            answer = json.loads(body)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise EngineUnreachableError(
                f"What answers in place of the Kubernetes API says {body[:100]!r}, which is no"
                " object. Look at what stands between the hub and the API."
            )
        return answer

    async def _fetch(self, method: str, kind: str, *args: Any, **kwargs: Any) -> bytes:
        call = getattr(shared_client(_APIS.get(kind, "CoreV1Api")), method)
        for attempt in range(ATTEMPTS):
            try:
                async with asyncio.timeout(CALL_SECONDS):
                    response = await call(*args, _preload_content=False, **kwargs)
                    body: bytes = await response.read()
                if response.status >= 400:
                    raise _make_api_exception(response, body)
                return body
            except UNANSWERED as error:
                if attempt == ATTEMPTS - 1 or not is_transient(error):
                    raise
            await asyncio.sleep(PAUSE_SECONDS * 2**attempt)
        raise AssertionError("the loop above returns or raises")

    @staticmethod
    async def _unless(status: int, call: Awaitable[Any]) -> Any:
        try:
            return await call
        except ApiException as error:
            if error.status != status:
                raise
            return None


def is_transient(error: BaseException) -> bool:
    """Return True if an error says nothing about the object asked for: no answer, or the API
    server's own trouble.
    """
    if isinstance(error, ApiException):
        return error.status in PASSING
    return isinstance(error, UNANSWERED) and not isinstance(
        error, ssl.SSLError | aiohttp.ClientSSLError
    )


def friendly_errors() -> AbstractContextManager[None]:
    """Turn the API's errors into ours."""
    return errors.friendly_errors(make_error, UNANSWERED)


def _make_api_exception(response: Any, body: bytes) -> Exception:
    error: Any = ApiException(status=response.status, reason=response.reason)
    error.body = body.decode(errors="replace")
    return error
