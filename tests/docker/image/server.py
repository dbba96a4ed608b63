"""Answer every request with 200.

Environment variables make it slow, mute, chatty or short-lived.
"""

import os
import signal
import socket
import sys
import threading
import time

PORT = int(os.environ.get("PORT", "8080"))


def answer(connection):
    with connection:
        connection.recv(65536)
        body = b'{"version": "test", "user": "%s"}' % os.environ.get("JUPYTERHUB_USER", "").encode()
        head = (
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
            b"X-JupyterHub-Version: 6.1.1\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
        )
        connection.sendall(head % len(body) + body)


if os.environ.get("IGNORE_TERM"):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.environ.get("DIE"):
    for line in range(30):
        print("line", line, flush=True)
    print("cannot start:", os.environ["DIE"], flush=True)
    sys.exit(3)
time.sleep(float(os.environ.get("START_DELAY", "0")))
server = socket.create_server(("0.0.0.0", PORT))
if os.environ.get("MUTE"):
    time.sleep(1e6)
print("serving", flush=True)
while True:
    threading.Thread(target=answer, args=(server.accept()[0],), daemon=True).start()
