"""The hub's metrics, and beside them those of nginx, which has no port of its own for them.

Invariants: nginx's are told at the port for workspaces and Prometheus alone, never at the public
one, and to who may read the hub's own.
"""

from __future__ import annotations

from urllib.parse import quote

from aiohttp import ClientError, ClientTimeout
from jupyterhub.handlers.metrics import MetricsHandler
from jupyterhub.httpclient import fetch

from mlhub.settings import Settings
from mlhub.signin.origin import is_workspace_request

ANSWER_SECONDS = 2.0


class FrontMetricsHandler(MetricsHandler):
    """Answer with the hub's numbers, and nginx's where nginx is beside it."""

    async def get(self) -> None:
        """Answer Prometheus."""
        await super().get()
        if is_workspace_request(self.request):
            self.write(await read_front_numbers(Settings.load()))


async def read_front_numbers(settings: Settings) -> str:
    """Return what nginx tells in Prometheus's format: the one in this container, else that which
    is the proxy in its own. Nothing where it does not answer.
    """
    socket = settings.mlhub_run_dir / "front" / "numbers.sock"
    headers = {}
    if socket.is_socket():
        address = f"http+unix://{quote(str(socket), safe='')}/"
    elif settings.mlhub_proxy_api_url and settings.configproxy_auth_token:
        address = f"{settings.mlhub_proxy_api_url}/metrics"
        token = settings.configproxy_auth_token.get_secret_value()
        headers["Authorization"] = f"token {token}"
    else:
        return ""
    try:
        answer = await fetch(address, headers=headers, timeout=ClientTimeout(ANSWER_SECONDS))
        async with answer:
            return str(await answer.text())
    except (ClientError, OSError, TimeoutError):
        return ""


HANDLERS = [(r"/metrics", FrontMetricsHandler), (r"/api/metrics", FrontMetricsHandler)]
