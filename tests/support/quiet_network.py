"""A network namespace for the browser, in which no interface ever comes or goes.

Chromium breaks off its connections (net::ERR_NETWORK_CHANGED) whenever the network it is in gets or
loses an interface, and the machine does with every container and pod. In a namespace of its own it
sees none of that, and reaches the machine's addresses through a SOCKS5 proxy (RFC 1928) that
listens in there and connects out here.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import shlex
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CLONE_NEWNET = 0x40000000
# A second interface, or pages are told that they are offline; no IPv6 address of its own, which
# would come a second later.
INTERFACES = (
    "link set lo up",
    "link add quiet0 type veth peer name quiet1",
    "link set quiet0 addrgenmode none up",
    "link set quiet1 addrgenmode none up",
)
ANSWERED, REFUSED = (
    b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00",
    b"\x05\x05\x00\x01\x00\x00\x00\x00\x00\x00",
)


@contextlib.contextmanager
def quiet_network(program: str, folder: Path) -> Iterator[dict[str, Any]]:
    """Return what Playwright needs to launch a browser in the namespace. Only root can make one;
    others do without.
    """
    if os.geteuid():
        yield {"executable_path": program}
        return
    ready: list[tuple[socket.socket, str]] = []
    entered, done = threading.Event(), threading.Event()

    def hold() -> None:
        # Of this thread alone: everything else here stays where it is, what this thread makes is in
        # there.
        try:
            if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "no network namespace for the browser")
            for command in INTERFACES:
                subprocess.run(["ip", *command.split()], check=True)
            namespace = f"/proc/{os.getpid()}/task/{threading.get_native_id()}/ns/net"
            ready.append((socket.create_server(("127.0.0.1", 0), backlog=100), namespace))
        finally:
            entered.set()
        done.wait()

    holder = threading.Thread(target=hold, daemon=True)
    holder.start()
    entered.wait()
    if not ready:
        raise OSError("no network namespace for the browser, see the error above")
    listener, namespace = ready[0]
    loop = asyncio.new_event_loop()
    proxy = threading.Thread(target=loop.run_forever, daemon=True)
    proxy.start()
    listening = asyncio.run_coroutine_threadsafe(
        asyncio.start_server(serve, sock=listener), loop
    ).result()
    script = folder / "quiet-browser"
    script.write_text(f'#!/bin/sh\nexec nsenter --net={namespace} {shlex.quote(program)} "$@"\n')
    script.chmod(0o755)
    try:
        yield {
            "executable_path": script,
            "proxy": {"server": f"socks5://127.0.0.1:{listener.getsockname()[1]}"},
        }
    finally:
        loop.call_soon_threadsafe(listening.close)
        loop.call_soon_threadsafe(loop.stop)
        proxy.join()
        done.set()
        holder.join()


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Connect one client to what it asks for, until either side has ended."""
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        _, methods = await reader.readexactly(2)
        await reader.readexactly(methods)
        writer.write(b"\x05\x00")
        *_, kind = await reader.readexactly(4)
        size = {1: 4, 4: 16}.get(kind) or (await reader.readexactly(1))[0]
        name = await reader.readexactly(size)
        port = int.from_bytes(await reader.readexactly(2), "big")
        host = (
            name.decode()
            if kind == 3
            else socket.inet_ntop(socket.AF_INET if kind == 1 else socket.AF_INET6, name)
        )
        # RFC 6761: such names are this machine, which not every resolver knows.
        host = "127.0.0.1" if host.endswith(".localhost") else host
        try:
            there, out = await asyncio.open_connection(host, port)
        except OSError:
            writer.write(REFUSED)
        else:
            writer.write(ANSWERED)
            await asyncio.gather(pump(reader, out), pump(there, writer))
    writer.close()


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Hand on what arrives, and its end."""
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    # The other direction ends, too: browsers and web servers do not leave connections half open.
    writer.close()
