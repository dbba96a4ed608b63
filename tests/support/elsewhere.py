"""A hub is led to something else than its engine or API."""

from __future__ import annotations

from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

from docker import APIClient
from kubespawner.clients import shared_client

from tests.support.cluster import KubernetesHub
from tests.support.engine import DockerHub


class Refusal(BaseHTTPRequestHandler):
    """Refuse whatever is asked, as an engine or an API server may."""

    def do_GET(self):
        body = b'{"kind": "Status", "message": "alice cannot be seen: forbidden"}'
        self.send_response(403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextmanager
def lead_elsewhere(hub, port, scheme="https"):
    """Lead a hub to something else in place of the engine or API."""
    backend = hub.backend
    if isinstance(hub, KubernetesHub):
        configuration = shared_client("CoreV1Api").api_client.configuration
        host, configuration.host = configuration.host, f"{scheme}://127.0.0.1:{port}"
        yield
        configuration.host = host
    elif isinstance(hub, DockerHub):
        engine = backend.engine
        client, engine._client = engine._client, APIClient(f"tcp://127.0.0.1:{port}", "1.44")
        yield
        engine._client = client
    else:
        backend.is_away = True
        yield
        backend.is_away = False
