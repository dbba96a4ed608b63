"""Where the hub listens: once for its own proxy, once for workspaces, with one application behind
both.

Invariants: who comes by the workspaces' port gets the REST API and nothing else, is who its
connection says it is, and signs in by its token alone. Only the proxy's word (``X-Forwarded-For``
and its like) is taken for a client's address.
"""

from __future__ import annotations

from typing import Any

from tornado import web
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPHeaders, HTTPServerRequest
from tornado.routing import Router

from mlhub.signin.origin import mark_workspace_request

SENTENCE = (
    "This port is for workspaces and answers the hub's REST API alone (below {api}). Open the hub's"
    " public address for its pages.\n"
)
# What a browser is asked for by OAuth: a page, though it stands below the API.
PAGES_BELOW_API = ("oauth2/authorize",)
# What workspaces, probes and Prometheus ask for: the latter with a token.
OPEN_BESIDE_API = ("health", "metrics")


class WorkspaceRouter(Router):
    """Hand on to the hub's application what a workspace may ask, and refuse the rest with a
    sentence.
    """

    def __init__(self, application: web.Application, hub_prefix: str) -> None:
        self.application = application
        self.api = f"{hub_prefix.rstrip('/')}/api"
        self.closed = tuple(f"{self.api}/{path}" for path in PAGES_BELOW_API)
        self.open = {self.api, *(f"{hub_prefix.rstrip('/')}/{path}" for path in OPEN_BESIDE_API)}

    def find_handler(self, request: HTTPServerRequest, **_: Any) -> Any:
        """Return what handles a request."""
        if not self.is_open(request.path):
            return self.application.get_handler_delegate(
                request, ShutHandler, {"api": f"{self.api}/"}
            )
        drop_unproven(request.headers)
        mark_workspace_request(request)
        return self.application.find_handler(request)

    def is_open(self, path: str) -> bool:
        """Return True if a path is one that workspaces need."""
        return path in self.open or (
            path.startswith(f"{self.api}/") and not path.startswith(self.closed)
        )


class ShutHandler(web.RequestHandler):
    """Say what this port is for. Every workspace may ask as often as it likes, so no line of the
    log tells of it.
    """

    def initialize(self, api: str) -> None:
        """Take the path that is open."""
        self.api = api

    def check_xsrf_cookie(self) -> None:
        """Ask for no token, which comes before ``prepare``."""

    async def prepare(self) -> None:
        """Answer whatever the method is."""
        self.set_status(403)
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(SENTENCE.format(api=self.api))

    def _log(self) -> None:
        pass


def drop_unproven(headers: HTTPHeaders) -> None:
    """Remove what anybody can claim of where a request comes from, and cookies, which only browsers
    have.
    """
    for name in list(headers):
        if name.startswith("X-Forwarded-") or name in (
            "Forwarded",
            "X-Real-Ip",
            "X-Scheme",
            "Cookie",
        ):
            del headers[name]


def open_workspace_side(app: Any) -> HTTPServer | None:
    """Listen for workspaces at ``hub_ip`` and ``hub_port``; None where these are what the proxy is
    led to as well.
    """
    if not app.hub_bind_url:
        return None
    server = HTTPServer(WorkspaceRouter(app.tornado_application, app.hub_prefix), xheaders=False)
    server.listen(app.hub_port, address=app.hub_ip)
    app.log.info("Workspaces reach the hub's API at port %s", app.hub_port)
    return server
