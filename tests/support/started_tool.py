"""What the site declares of the tests' own workspace image: a tool, with the command that starts it
on the loopback; and, by another name, a web server that asks nobody who is there.
"""

from __future__ import annotations

import shlex

PORT = 8600
_SOURCE = f"""
import os, socket
server = socket.create_server(("127.0.0.1", {PORT}))
while True:
    connection = server.accept()[0]
    if connection.recv(65536):
        said = "started for " + os.environ["JUPYTERHUB_USER"] + " in " + os.getcwd()
        connection.sendall(b"HTTP/1.0 200 OK\\r\\n\\r\\n" + said.encode())
    connection.close()
"""
TOOL = {"name": "Started", "port": PORT, "start": f"exec python3 -c {shlex.quote(_SOURCE)}"}

# By this name the image is that web server: the tests that want it tag it so.
WEB_IMAGE = "mlhub-test-web:1"
