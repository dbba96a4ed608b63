"""A new proxy asks for the hub's routes: ``POST mlhub/routes`` of the REST API, with ``{"api_url":
"http://<address>:<port>"}``.

Invariants: only who knows the token between hub and proxy is answered, and the token goes to no
address but the one that asks so. The answer, 204, comes when all routes are there.
"""

from __future__ import annotations

import asyncio
import json
from ipaddress import ip_address
from secrets import compare_digest
from typing import Any
from urllib.parse import urlsplit

from tornado import web

from mlhub.web.handlers import MLHubAPIHandler

NEXT_LINE = "mlhub_next_line_about_routes"
SILENT_SECONDS = 60.0


def parse_api_url(body: bytes) -> str:
    """Return the address that a body names; an empty text where it names none."""
    try:
        model = json.loads(body)
        url = model["api_url"] if isinstance(model, dict) and set(model) == {"api_url"} else ""
        parts = urlsplit(url)
        address, port = ip_address(parts.hostname or ""), parts.port
    except (ValueError, TypeError, AttributeError, RecursionError):
        return ""
    host = f"[{address}]" if address.version == 6 else str(address)
    return url if port and url == f"http://{host}:{port}" else ""


class RoutesHandler(MLHubAPIHandler):
    """Push all routes to a proxy that asks."""

    # Every workspace may ask as often as it likes.
    quiet_statuses = frozenset({403})

    async def post(self) -> None:
        """Push, and answer when that is done."""
        proxy = self.proxy
        if not getattr(proxy, "is_elsewhere", False):
            raise web.HTTPError(404, "This hub's proxy runs beside it.")
        if not compare_digest((self.get_auth_token() or "").encode(), proxy.auth_token.encode()):
            self._refuse()
            return
        api_url = parse_api_url(self.request.body)
        if not api_url:
            raise web.HTTPError(
                400,
                'The body is not a JSON object with the text "api_url", as in {"api_url":'
                ' "http://10.0.0.7:8001"}.',
            )
        with self.friendly_errors():
            await proxy.push_to(api_url)
        self.set_status(204)

    def _refuse(self) -> None:
        now = asyncio.get_running_loop().time()
        if now >= self.settings.get(NEXT_LINE, 0):
            self.settings[NEXT_LINE] = now + SILENT_SECONDS
            self.log.warning(
                "%s asks for the hub's routes without its token (CONFIGPROXY_AUTH_TOKEN must be the"
                " same for hub and proxy); refused, as are others in the next minute without a"
                " line.",
                self.request.remote_ip,
            )
        sentence = "Only the hub's own proxy may ask this, with the token that both have."
        self.answer({"status": 403, "message": sentence}, 403)


HANDLERS: list[tuple[Any, ...]] = [(r"/api/mlhub/routes", RoutesHandler)]
