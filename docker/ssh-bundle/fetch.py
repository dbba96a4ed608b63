"""Fetch the SSH server from the hub and start it, inside a pod: the command of the workspace's startup probe.

Whatever Python an image has runs this, even a minimal one of years ago: only modules that are always there.
"""

import os
import socket
import sys
import time

FOLDER = "/.mlhub"
PATIENCE_SECONDS = 10


def main():
    """Fetch once, start each time: the files outlive the container in the pod, its programs do not."""
    host, port, path = read_hub(os.environ["JUPYTERHUB_API_URL"])
    token = os.environ["JUPYTERHUB_API_TOKEN"]
    wait_for_workspace(os.environ.get("JUPYTERHUB_SERVICE_URL", ""))
    if not os.path.exists(FOLDER + "/start"):  # the last one that comes
        fetch(host, port, path, token)
    write("host/hub", 0o600, f"{host} {port} {path} {token}\n".encode())
    try:
        log = os.open("/proc/1/fd/1", os.O_WRONLY)
    except OSError:
        log = os.open(os.devnull, os.O_WRONLY)
    os.dup2(log, 1)
    os.dup2(log, 2)
    # What goes wrong there is in the log, and does not get better by trying again.
    os.spawnv(os.P_WAIT, FOLDER + "/start", [FOLDER + "/start"])  # noqa: S606 - an image may have no shell


def wait_for_workspace(url):
    """Leave the processor to what the person waits for, until it listens; where it does not, SSH is how to find out why."""
    port, deadline = read_hub(url)[1], time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        try:
            return socket.create_connection(("localhost", port), 1).close()
        except OSError:
            time.sleep(0.2)


def read_hub(url):
    """Read host, port and path from a URL, such as that of the hub's API."""
    place, _, path = url.partition("://")[2].partition("/")
    host, _, port = place.rpartition(":") if ":" in place.rpartition("]")[2] else (place, "", "80")
    return host.strip("[]"), int(port), "/" + path.rstrip("/")


def fetch(host, port, path, token):
    """Write the files of the tar archive that the hub answers with."""
    connection = socket.create_connection((host, port), 20)
    request = f"GET {path}/ssh/bundle HTTP/1.0\r\nHost: {host}:{port}\r\nAuthorization: token {token}\r\n\r\n"
    connection.sendall(request.encode())
    answer = connection.makefile("rb")
    status = answer.readline().decode(errors="replace").strip()
    if " 200 " not in status:
        sys.exit("The hub does not hand out its SSH server: " + (status or "no answer"))
    while answer.readline().strip():
        pass
    while True:
        header = answer.read(512)
        if len(header) < 512:
            sys.exit("The hub's answer ended too early.")
        if not header.strip(b"\0"):
            return
        size = int(header[124:135], 8)
        write(header[:100].rstrip(b"\0").decode(), int(header[100:107], 8), answer.read(size))
        answer.read(-size % 512)


def write(name, mode, content):
    """Put a file in place, whole: what runs keeps the one that it was started from."""
    path = os.path.join(FOLDER, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path + ".new", "wb") as file:
        os.chmod(path + ".new", mode)
        file.write(content)
    os.replace(path + ".new", path)


main()
