"""Fetch the SSH server from the hub and start it, inside a pod: the command of the workspace's
startup probe.

Whatever Python an image has runs this, even a minimal one of years ago: only modules that are
always there. The probe is repeated until it succeeds. What failed is tried again after a pause that
doubles up to half a minute, and the hub is told the reason with the next question.
"""

import os
import socket
import sys
import time

FOLDER = "/.mlhub"
PATIENCE_SECONDS = 10
LONGEST_PAUSE_SECONDS = 30
ANSWER_SECONDS = 20  # between two pieces of the hub's answer
BLOCK = 512


def main():
    """Fetch once, start each time.

    The files outlive the container in the pod, its programs do not.
    """
    host, port, path = read_hub(os.environ["JUPYTERHUB_API_URL"])
    token = os.environ["JUPYTERHUB_API_TOKEN"]
    wait_for_workspace(os.environ.get("JUPYTERHUB_SERVICE_URL", ""))
    if not os.path.exists(FOLDER + "/start"):  # the last one that comes
        fetch_in_turn(host, port, path, token)
    write("host/hub", 0o600, f"{host} {port} {path} {token}\n".encode())
    # What goes wrong there is in the log, and does not get better by trying again.
    # An image may have no shell
    os.spawnv(os.P_WAIT, FOLDER + "/start", [FOLDER + "/start"])  # noqa: S606


def wait_for_workspace(url):
    """Leave the processor to what the person waits for, until it listens; where it does not, SSH is
    how to find out why.
    """
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


def fetch_in_turn(host, port, path, token):
    """Fetch, after the pause that the last failure asks for; write the next one down before the hub
    is asked for anything.
    """
    try:
        with open(FOLDER + "/failed") as file:
            pause, _, trouble = file.read().partition(" ")
        pause = int(pause)
    except (OSError, ValueError):
        pause, trouble = 0, ""
    time.sleep(pause)
    longer = min(2 * pause or 1, LONGEST_PAUSE_SECONDS)
    write("failed", 0o600, f"{longer} the hub's answer took too long".encode())
    try:
        fetch(host, port, path, token, trouble)
    except (OSError, ValueError) as error:
        said = " ".join(str(error).split())[:200]
        write("failed", 0o600, f"{longer} {said}".encode())
        sys.exit(f"No SSH server yet, next try in {longer} s: {said}")
    os.remove(FOLDER + "/failed")


def fetch(host, port, path, token, trouble):
    """Write the files of the tar archive that the hub answers with; the last one, ``start``, once
    all of it has arrived.
    """
    connection = socket.create_connection((host, port), ANSWER_SECONDS)
    said = f"X-MLHub-Trouble: {ascii(trouble)[1:-1]}\r\n" if trouble else ""
    request = (
        f"GET {path}/ssh/bundle HTTP/1.0\r\nHost: {host}:{port}\r\n"
        f"Authorization: token {token}\r\n{said}\r\n"
    )
    connection.sendall(request.encode())
    answer = connection.makefile("rb")
    status = answer.readline().decode(errors="replace").strip()
    if " 200 " not in status:
        raise ValueError("The hub does not hand out its SSH server: " + (status or "no answer"))
    last = None
    for member in read_members(answer, read_length(answer)):
        if last:
            write(*last)
        last = member
    if not last or last[0] != "start":
        raise ValueError("The hub's archive does not end with the file that starts the server.")
    write(*last)


def read_length(answer):
    """Read the headers of an HTTP answer; return how long its body is."""
    length = None
    while True:
        name, _, value = answer.readline().decode(errors="replace").partition(":")
        if not name.strip():
            break
        if name.lower() == "content-length":
            length = int(value)
    if length is None:
        raise ValueError("The hub does not say how long its answer is.")
    return length


def read_members(answer, length):
    """Yield name, mode and content of each file of an archive (POSIX.1-1988, ustar) that has
    exactly this length.
    """
    while True:
        header = read(answer, BLOCK)
        if not header.strip(b"\0"):
            break
        if sum(header[:148]) + sum(header[156:]) + 8 * ord(" ") != int(
            header[148:155].strip(b"\0 "), 8
        ):
            raise ValueError("The hub's archive is damaged.")
        size = int(header[124:135], 8)
        length -= BLOCK + size + -size % BLOCK
        if length < 0:
            raise ValueError("The hub's archive is longer than its answer.")
        prefix, name = header[345:500].rstrip(b"\0"), header[:100].rstrip(b"\0")
        content = read(answer, size)
        read(answer, -size % BLOCK)
        yield (prefix + b"/" + name if prefix else name).decode(), int(header[100:107], 8), content
    # What is written last says that all is there: only an archive that ends where it should comes
    # so far.
    if length != 2 * BLOCK or read(answer, BLOCK).strip(b"\0") or answer.read(1):
        raise ValueError("The hub's archive does not end where its answer does.")


def read(answer, size):
    """Read so many bytes."""
    content = answer.read(size)
    if len(content) < size:
        raise ValueError("The hub's answer ended too early.")
    return content


def write(name, mode, content):
    """Put a file in place, whole: what runs keeps the one that it was started from."""
    path = os.path.join(FOLDER, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path + ".new", "wb") as file:
        os.chmod(path + ".new", mode)
        file.write(content)
    os.replace(path + ".new", path)


main()
