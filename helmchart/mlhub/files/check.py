"""What `helm test` asks of a running release: the sign-in page, SSH on the same port, the hub
itself.
"""

import http.client
import os
import socket
import ssl
import sys
import time

SECONDS = 60
PROXY, HUB, BASE = os.environ["PROXY"], os.environ["HUB"], os.environ["BASE"]
PORT = 443 if os.environ["TLS"] == "true" else 80


def get(connection, path):
    connection.request("GET", path)
    answer = connection.getresponse()
    return answer.status, answer.read(2**20).decode(errors="replace")


def explain_sign_in():
    if PORT == 443:
        # Inside the cluster the hub answers under none of the names in its certificate.
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection(PROXY, PORT, timeout=5, context=context)
    else:
        connection = http.client.HTTPConnection(PROXY, PORT, timeout=5)
    status, text = get(connection, f"{BASE}hub/login")
    return (
        ""
        if status == 200 and "<form" in text
        else f"{PROXY}:{PORT}{BASE}hub/login answers {status}: {text[:200]!r}"
    )


def explain_hub():
    status, text = get(http.client.HTTPConnection(HUB, 8081, timeout=5), f"{BASE}hub/health")
    return "" if status == 200 else f"{HUB}:8081{BASE}hub/health answers {status}: {text[:200]!r}"


def explain_ssh():
    with socket.create_connection((PROXY, PORT), timeout=5) as connection:
        connection.sendall(
            b"SSH-2.0-helm-test\r\n"
        )  # the port tells SSH by what the client says first
        banner = connection.recv(256)
    return "" if banner.startswith(b"SSH-2.0-") else f"{PROXY}:{PORT} answers SSH with {banner!r}"


def wait_for(name, explain):
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            reason = explain()
        except (OSError, http.client.HTTPException) as error:
            reason = repr(error)
        if not reason:
            print(f"{name}: fine", flush=True)
            return
        if time.monotonic() > deadline:
            sys.exit(f"{name}: {reason}")
        time.sleep(1)


wait_for("hub", explain_hub)
wait_for("sign-in page", explain_sign_in)
if os.environ["SSH"] == "true":
    wait_for("SSH on the same port", explain_ssh)
