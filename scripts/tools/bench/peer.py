"""Both ends of a proxied connection, as cheap as Python has them: with an address a server that
gives back what it gets, with address, port, path, connections and seconds a client that counts.

Standard library only, and no module of ours: it runs in processes of its own.
"""

from __future__ import annotations

import select
import socket
import sys
import time

MESSAGE = bytes([0x82, 0xFE, 0, 120]) + bytes(124)
SHAKE = (
    "GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
AGREED = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)


def serve(address: str) -> None:
    """Print the port; echo what comes over WebSockets, and answer ``…/bulk/N`` with N bytes."""
    server = socket.create_server((address, 0), backlog=4096)
    print(server.getsockname()[1], flush=True)
    poll, clients = select.epoll(), {}
    poll.register(server, select.EPOLLIN)
    while True:
        for number, _ in poll.poll():
            if number == server.fileno():
                connection, _ = server.accept()
                clients[connection.fileno()] = (connection, True)
                poll.register(connection, select.EPOLLIN)
                continue
            connection, is_new = clients[number]
            try:
                data = connection.recv(65536)
                if data and not is_new:
                    connection.sendall(data)
                    continue
                if data and b"\r\nupgrade: websocket" in data.lower():
                    connection.sendall(AGREED)
                    clients[number] = (connection, False)
                    continue
                if data:
                    send_bulk(connection, int(data.split()[1].rpartition(b"/")[2]))
            except OSError:
                pass
            poll.unregister(number)
            del clients[number]
            connection.close()


def send_bulk(connection: socket.socket, size: int) -> None:
    """Answer with so many bytes."""
    connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode())
    block = bytes(1 << 20)
    for _ in range(size // len(block)):
        connection.sendall(block)


def count(address: str, port: int, path: str, connections: int, seconds: float) -> float:
    """Return the messages per second that come back over so many WebSockets."""
    poll, clients, waiting = select.epoll(), {}, {}
    for _ in range(connections):
        client = socket.create_connection((address, port), timeout=30)
        client.sendall(SHAKE.format(path=path).encode())
        if b" 101 " not in client.recv(4096):
            raise SystemExit("no WebSocket")
        clients[client.fileno()], waiting[client.fileno()] = client, len(MESSAGE)
        poll.register(client, select.EPOLLIN)
    for client in clients.values():
        client.sendall(MESSAGE)
    began, messages = time.monotonic(), 0
    while time.monotonic() < began + seconds:
        for number, _ in poll.poll(1):
            client = clients[number]
            waiting[number] -= len(client.recv(65536))
            if waiting[number] <= 0:
                messages += 1
                waiting[number] = len(MESSAGE)
                client.sendall(MESSAGE)
    return messages / (time.monotonic() - began)


if __name__ == "__main__":
    if len(sys.argv) == 2:
        serve(sys.argv[1])
    else:
        address, port, path, connections, seconds = sys.argv[1:]
        print(count(address, int(port), path, int(connections), float(seconds)))
