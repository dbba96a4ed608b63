"""A hub is led to something else than its engine or API, or hears wrong lists of them."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from docker import APIClient
from kubespawner.clients import shared_client

from tests.support.cluster import KubernetesHub
from tests.support.engine import DockerHub

REFUSAL = (403, b'{"kind": "Status", "message": "alice cannot be seen: forbidden"}')


@contextmanager
def lead_elsewhere(hub, port, scheme="https"):
    """Lead a hub to something else in place of the engine or API."""
    backend = hub.backend
    if isinstance(hub, KubernetesHub):
        configuration = shared_client("CoreV1Api").api_client.configuration
        host, configuration.host = configuration.host, f"{scheme}://127.0.0.1:{port}"
        try:
            yield
        finally:
            configuration.host = host
    elif isinstance(hub, DockerHub):
        engine = backend.engine
        client, engine._client = engine._client, APIClient(f"tcp://127.0.0.1:{port}", "1.44")
        try:
            yield
        finally:
            engine._client = client
    else:
        backend.is_away = True
        try:
            yield
        finally:
            backend.is_away = False


@contextmanager
def answer_all(hub, status, body):
    """Answer whatever a hub asks its engine or API with the same."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            with lead_elsewhere(hub, server.server_port, "http"):
                yield
        finally:
            server.shutdown()


@contextmanager
def twist_lists(hub, twist):
    """Let a hub hear of each list of its engine or API what a function makes of it."""
    is_cluster = isinstance(hub, KubernetesHub)
    teller, name = (hub.backend.api, "_call") if is_cluster else (hub.backend.engine, "call")
    ask = getattr(teller, name)

    async def call(method, *arguments, **named):
        answer = await ask(method, *arguments, **named)
        if method in ("containers", "networks"):
            return twist(answer)
        key = "items" if method.startswith("list_namespaced_") else "Volumes"
        is_list = method == "volumes" or key == "items"
        return {**answer, key: twist(answer[key])} if is_list else answer

    setattr(teller, name, call)
    try:
        yield
    finally:
        delattr(teller, name)
