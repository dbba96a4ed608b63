"""A program that says what it was asked, counts what it is sent, tells events slowly, and opens
WebSockets; by itself, or as the web server of an image.
"""

from __future__ import annotations

SOURCE = r"""
import socket, sys, threading
def answer(connection):
    with connection:
        head = b""
        while b"\r\n\r\n" not in head:
            piece = connection.recv(65536)
            if not piece:
                return
            head += piece
        path = head.split(b" ", 2)[1]
        head, end, rest = head.partition(b"\r\n\r\n")
        head += end
        sent, size = len(rest), 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                size = int(line.partition(b":")[2])
        while sent < size and (piece := connection.recv(65536)):
            sent += len(piece)
        if b"\r\nupgrade: websocket" in head.lower():
            connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
                               b"Upgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n")
            while connection.recv(65536):
                pass
        elif path.startswith(b"/leads"):
            connection.sendall(b"HTTP/1.1 302 Found\r\nConnection: close\r\nContent-Length: 0\r\n"
                               b"Set-Cookie: own=1; Path=/\r\nSet-Cookie: mlhub-tools=x; Path=/\r\n"
                               b"Location: /there?x=1\r\n\r\n")
        elif path.startswith(b"/counts"):
            body = b"%d" % sent
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n"
                               b"Connection: close\r\n\r\n%s" % (len(body), body))
        elif path.startswith(b"/bytes/"):
            left = int(path.rpartition(b"/")[2])
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n"
                               b"Connection: close\r\n\r\n" % left)
            while left:
                piece = bytes(min(left, 1 << 20))
                connection.sendall(piece)
                left -= len(piece)
        elif path.startswith(b"/events"):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                               b"Connection: close\r\n\r\ndata: first\n\n")
            while connection.recv(65536):
                pass
        else:
            body = sys.argv[3].encode() + b"\n" + head
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
                               b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body))
            connection.sendall(body)
server = socket.create_server((sys.argv[1], int(sys.argv[2])), backlog=64)
while True:
    threading.Thread(target=answer, args=(server.accept()[0],), daemon=True).start()
"""
WEB_PORT = 8700
WEB = {"kind": "web", "port": WEB_PORT, "cmd": ["python3", "-c", SOURCE, "", str(WEB_PORT), "web"]}
