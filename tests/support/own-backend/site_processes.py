"""Workspaces as processes beside the hub: a backend of a site's own, as short as one can be.

They run as the hub's own account, and end with it: this shows how a backend is made, not how one
should run other people's code.
"""

import asyncio
import contextlib
import socket
import sys
from dataclasses import dataclass

from mlhub.backends.memory import MemoryBackend, MemorySpawner
from mlhub.backends.readiness import wait_until_ready
from mlhub.backends.registry import BackendKind
from mlhub.errors import WorkspaceDiedError
from mlhub.workspaces.port import Address

PROGRAM = """
import http.server, sys
class Workspace(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Workspace).serve_forever()
"""


@dataclass
class Process:
    address: Address
    process: asyncio.subprocess.Process

    def is_alive(self):
        return self.process.returncode is None

    async def stop(self):
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()


class ProcessBackend(MemoryBackend):
    async def launch(self, identity, image, environment, volume):
        with socket.create_server(("127.0.0.1", 0)) as free:
            address = Address(*free.getsockname())
        words = [sys.executable, "-c", PROGRAM, str(address.port)]
        running = Process(address, await asyncio.create_subprocess_exec(*words, env=environment))

        async def has_died():
            return not running.is_alive()

        if not await wait_until_ready(address.host, address.port, "/", 30, has_died):
            raise WorkspaceDiedError("The process ended before it answered.")
        return running


class ProcessSpawner(MemorySpawner):
    backend_class = ProcessBackend


KIND = BackendKind(name="Processes", modes=("processes",), spawner="site_processes.ProcessSpawner")
