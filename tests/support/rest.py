"""A hub's REST API through its public port, wherever the hub runs."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any


class RestClient:
    """Send requests to a hub; the hub's own class says where it is and how to read its log."""

    scheme: str
    host: str
    port: int
    headers: dict[str, str]
    wait_for: Callable[..., Any]

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}"

    def logs(self) -> str:
        raise NotImplementedError

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
        timeout: float = 60,
    ) -> tuple[int, dict[str, str], bytes]:
        """Send one request through the public port; redirects are not followed."""
        sent, data = dict(self.headers if headers is None else headers), body
        if body is not None and not isinstance(body, bytes):
            data = json.dumps(body).encode()
            sent.setdefault("Content-Type", "application/json")
        request = urllib.request.Request(self.url + path, data=data, method=method, headers=sent)
        try:
            with OPENER.open(request, timeout=timeout) as answer:
                return (
                    answer.status,
                    {name.lower(): value for name, value in answer.headers.items()},
                    answer.read(),
                )
        except urllib.error.HTTPError as error:
            return (
                error.code,
                {name.lower(): value for name, value in error.headers.items()},
                error.read(),
            )

    def api(
        self,
        method: str,
        path: str,
        body: Any = None,
        expect: tuple[int, ...] = (200, 201, 202, 204),
    ) -> Any:
        """Call the hub's REST API with the tests' token."""
        status, _, answer = self.request(method, f"/hub/api/{path}", body)
        assert status in expect, (
            f"{method} {path}: {status} {answer[:500]!r}\n{self.logs()[-3000:]}"
        )
        return json.loads(answer) if answer else None

    def start_workspace(self, user: str, server: str = "", options: dict | None = None) -> None:
        """Create the user where needed, start a workspace that does not run, wait until it is
        ready.
        """
        self.request("POST", f"/hub/api/users/{user}", b"")
        if self.is_workspace_ready(user, server):
            return
        path = f"users/{user}/servers/{server}" if server else f"users/{user}/server"
        self.api("POST", path, options or {})
        self.wait_for(
            lambda: self.is_workspace_ready(user, server), f"{user}/{server} is ready", 120
        )

    def is_workspace_ready(self, user: str, server: str = "") -> bool:
        model = self.api("GET", f"users/{user}")["servers"].get(server)
        return bool(model and model["ready"])

    def stop_workspace(self, user: str, server: str = "") -> None:
        path = f"users/{user}/servers/{server}" if server else f"users/{user}/server"
        self.api("DELETE", path)
        self.wait_for(
            lambda: (
                not (
                    self.api("GET", f"users/{user}?include_stopped_servers")["servers"].get(server)
                    or {}
                ).get("pending")
            ),
            "stopped",
            40,
        )


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments: Any) -> None:
        return None


def _make_opener() -> urllib.request.OpenerDirector:
    context = ssl.create_default_context()
    # The certificate is checked where a test is about it.
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return urllib.request.build_opener(
        _NoRedirects, urllib.request.HTTPSHandler(context=context), urllib.request.ProxyHandler({})
    )


OPENER = _make_opener()
