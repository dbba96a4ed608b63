"""Where TLS ends, with pods that run: in the proxy by a Secret of the site's own, or in front of
it; and a release without SSH.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
import socket
import ssl
from pathlib import Path

import pytest

from tests.support.certificates import make_pair
from tests.support.cluster import WORKSPACE_IMAGE
from tests.support.definitions import defined
from tests.support.helm_release import merge, read_example
from tests.support.wire import Echo

KUBELET_SECONDS = 100  # a kubelet looks after the volumes of a pod once in about a minute
FORGED = {
    "X-Forwarded-Proto": "https",
    "X-Forwarded-For": "198.51.100.7",
    "X-Forwarded-Host": "evil.example",
}


def make_secret(pair: Path, name: str) -> dict:
    """Make a Secret of type kubernetes.io/tls."""
    data = {
        key: base64.b64encode((pair / file).read_bytes()).decode()
        for key, file in {"tls.crt": "cert.crt", "tls.key": "cert.key"}.items()
    }
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": {"name": name},
        "data": data,
    }


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> Path:
    return make_pair(tmp_path_factory.mktemp("first") / "ssl", name="hub.example.org")


@pytest.fixture(scope="module")
def release(make_release, pair):
    made = make_release()
    replace_secret(made, pair)
    return made


@pytest.fixture(scope="module")
def secured(release):
    """The release with a certificate in a Secret."""
    release.install(read_example("https-secret"))
    release.start_workspace("alice")
    return release


def replace_secret(release, pair: Path, name: str = "hub-certificate") -> None:
    """Put a pair into a Secret: that which the example names, or another."""
    secret = make_secret(pair, name)
    secret["metadata"]["namespace"] = release.namespace
    release.cluster.apply(secret)


def read_certificate(release) -> str:
    """Return the certificate on the wire."""
    return ssl.get_server_certificate((release.host, 443), timeout=10).strip()


def serves(release, pair: Path) -> bool:
    """Return True if a pair is on the wire."""
    return read_certificate(release) == read_file(pair)


def read_file(pair: Path) -> str:
    return (pair / "cert.crt").read_text().strip()


def read_banner(release, port: int) -> bytes:
    """Say what an SSH client says; return what comes back until the other side closes or has said a
    line.
    """
    with socket.create_connection((release.host, port), timeout=10) as connection:
        connection.sendall(b"SSH-2.0-test\r\n")
        try:
            return connection.recv(64)
        except ConnectionResetError:
            return b""


def test_a_certificate_in_a_secret_is_served_and_plain_http_is_redirected_to_it(secured, pair):
    assert read_certificate(secured) == read_file(pair)
    # Who trusts this certificate alone believes to be with that name.
    context = ssl.create_default_context(cafile=str(pair / "cert.crt"))
    plain = socket.create_connection((secured.host, 443), timeout=10)
    with plain, context.wrap_socket(plain, server_hostname="hub.example.org") as connection:
        connection.sendall(
            b"GET /hub/login HTTP/1.1\r\nHost: hub.example.org\r\nConnection: close\r\n\r\n"
        )
        head = connection.recv(65536).decode()
    assert head.startswith("HTTP/1.1 200")
    assert "strict-transport-security:" in head.lower()
    with socket.create_connection((secured.host, 80), timeout=10) as connection:
        connection.sendall(
            b"GET /hub/login HTTP/1.1\r\nHost: hub.example.org\r\nConnection: close\r\n\r\n"
        )
        head = connection.recv(65536).decode()
    assert head.startswith("HTTP/1.1 308")
    assert "location: https://hub.example.org/hub/login" in head.lower()
    assert read_banner(secured, 443).startswith(b"SSH-2.0-")
    assert read_banner(secured, 80).startswith(b"SSH-2.0-")


def look_at_volumes(release) -> None:
    """Have the kubelet look after the volumes of the proxy's pod now: it does so within a minute,
    or when the pod changes.
    """
    release.kubectl(
        "annotate",
        "--overwrite",
        "pod",
        release.find_pod("proxy"),
        f"mlhub.test/look={secrets.token_hex(3)}",
    )


def look_at_proxy(release) -> tuple[str, int]:
    """Return which pod the proxy is, and how often it was restarted."""
    found = release.read("pod", release.find_pod("proxy"))
    return found["metadata"]["uid"], found["status"]["containerStatuses"][0]["restartCount"]


@pytest.mark.parametrize("hurried", [True, pytest.param(False, marks=pytest.mark.full)])
def test_a_renewed_secret_is_served_by_the_same_proxy_and_connections_live_on(
    secured, hurried, tmp_path
):
    before = look_at_proxy(secured)
    echo = Echo(443, "/user/alice/echo", tls=True, host=secured.host)
    assert echo.is_alive()
    fresh = make_pair(tmp_path / "fresh", name="hub.example.org")
    assert read_certificate(secured) != read_file(fresh)
    replace_secret(secured, fresh)
    if hurried:
        look_at_volumes(secured)
    secured.wait_for(
        lambda: serves(secured, fresh), "the new certificate is served", KUBELET_SECONDS
    )
    assert echo.is_alive()
    assert secured.request("GET", "/user/alice/api")[0] == 200
    assert look_at_proxy(secured) == before
    echo.close()


def test_a_key_of_another_certificate_is_not_taken_and_shuts_nobody_out(secured, pair, tmp_path):
    replace_secret(secured, pair)
    look_at_volumes(secured)
    secured.wait_for(
        lambda: serves(secured, pair), "the first certificate is served again", KUBELET_SECONDS
    )
    broken = make_pair(tmp_path / "broken", name="hub.example.org")
    (broken / "cert.key").write_bytes((make_pair(tmp_path / "other") / "cert.key").read_bytes())
    replace_secret(secured, broken)
    look_at_volumes(secured)
    refusal = "does not belong to the certificate"
    proxy = secured.find_pod("proxy")
    secured.wait_for(
        lambda: refusal in secured.kubectl("logs", proxy),
        "the proxy says what is wrong",
        KUBELET_SECONDS,
    )
    assert read_certificate(secured) == read_file(pair)


def make_visitor(release, name: str) -> str:
    """Start a pod that is nobody's, without a policy; return its address."""
    restricted = {
        "allowPrivilegeEscalation": False,
        "runAsNonRoot": True,
        "runAsUser": 1000,
        "capabilities": {"drop": ["ALL"]},
    }
    container = {
        "name": "visitor",
        "image": WORKSPACE_IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sleep", "3600"],
    }
    spec = {
        "containers": [
            {
                **container,
                "securityContext": {**restricted, "seccompProfile": {"type": "RuntimeDefault"}},
            }
        ],
        "terminationGracePeriodSeconds": 0,
    }
    release.cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": release.namespace},
            "spec": spec,
        }
    )
    release.kubectl("wait", "--for=condition=Ready", f"pod/{name}", "--timeout=60s")
    return release.read("pod", name)["status"]["podIP"]


def ask(release, visitor: str, path: str, headers: dict[str, str], *options: str) -> str:
    """Ask from a visitor's pod through the public Service.

    Return headers and body of the answer.
    """
    words = [word for name, value in headers.items() for word in ("--header", f"{name}: {value}")]
    url = f"http://{release.name}-proxy-public{path}"
    return release.execute(
        visitor, "curl", "-s", "-i", "--max-time", "20", *options, *words, url, container="visitor"
    )


def find_client(release, mark: str) -> str:
    """Wait until a request is in the hub's log; return the client's address there."""
    line = release.wait_for(
        lambda: next((each for each in release.logs().splitlines() if mark in each), None),
        "it is logged",
        10,
    )
    found = re.search(r"\(\S*@([^)]+)\)", line)
    assert found, line
    return found[1]


@pytest.fixture(scope="module")
def offloaded(release):
    """The release behind a load balancer that ends TLS, which is a pod, and beside it a stranger's
    pod.
    """
    release.balancer, release.stranger = (
        make_visitor(release, "balancer"),
        make_visitor(release, "stranger"),
    )
    # A Service of type ClusterIP may not have an externalTrafficPolicy.
    here = {
        "trustedProxies": [f"{release.balancer}/32"],
        "service": {"externalTrafficPolicy": None},
    }
    values = merge(read_example("offload"), {"proxy": here})
    release.ends_tls = False
    release.install(values)
    # While the proxy that ended TLS itself is among the Service's addresses, it redirects who comes
    # by HTTP.
    release.wait_for(
        lambda: len(release.list_pods("proxy")) == 1, "the proxy of the values before is gone", 60
    )
    release.start_workspace("alice")
    return release


def sign_in(release, visitor: str) -> str:
    """Sign in by the form; return the answer's headers."""
    page = ask(release, visitor, "/hub/login", FORGED)
    cookies = re.findall(r"^set-cookie: ([^;]+)", page, re.IGNORECASE | re.MULTILINE)
    xsrf = next(each.partition("=")[2] for each in cookies if each.startswith("_xsrf="))
    form = [
        "--data-urlencode",
        "username=otto",
        "--data-urlencode",
        "password=x",
        "--data-urlencode",
        f"_xsrf={xsrf}",
    ]
    return ask(release, visitor, "/hub/login", {**FORGED, "Cookie": "; ".join(cookies)}, *form)


def read_forwarded(release, visitor: str) -> dict[str, str]:
    """Return what a workspace is told of a visitor who forges headers."""
    answer = ask(release, visitor, "/user/alice/echo", {**FORGED, **release.headers})
    headers = json.loads(answer.replace("\r\n", "\n").partition("\n\n")[2])["headers"]
    return {name: headers[name] for name in ("x-forwarded-proto", "x-forwarded-for")}


def list_cookies(answer: str) -> dict[str, bool]:
    """Return the names of the session's cookies, and whether they are for HTTPS alone."""
    found = re.findall(
        r"^set-cookie: (jupyterhub[^=]*)=(.*)$", answer, re.IGNORECASE | re.MULTILINE
    )
    return {name: "secure" in rest.lower() for name, rest in found}


@pytest.mark.full
def test_a_load_balancer_that_ends_tls_is_believed(offloaded):
    answer = sign_in(offloaded, "balancer")
    assert answer.startswith("HTTP/1.1 302"), answer[:400]
    assert list_cookies(answer) == {"jupyterhub-hub-login": True, "jupyterhub-session-id": True}
    mark = f"/hub/no-such-page-{secrets.token_hex(3)}"
    ask(offloaded, "balancer", mark, FORGED)
    assert find_client(offloaded, mark) == "198.51.100.7"
    # A balancer appends the address that it saw to what the client claims.
    mark = f"/hub/no-such-page-{secrets.token_hex(3)}"
    ask(offloaded, "balancer", mark, {**FORGED, "X-Forwarded-For": "203.0.113.5, 198.51.100.8"})
    assert find_client(offloaded, mark) == "198.51.100.8"
    assert read_forwarded(offloaded, "balancer") == {
        "x-forwarded-proto": "https",
        "x-forwarded-for": "198.51.100.7",
    }


def test_a_stranger_who_claims_to_be_the_load_balancer_is_not_believed(offloaded):
    answer = sign_in(offloaded, "stranger")
    assert answer.startswith("HTTP/1.1 302"), answer[:400]
    assert list_cookies(answer) == {"jupyterhub-hub-login": False, "jupyterhub-session-id": False}
    assert "evil.example" not in answer
    mark = f"/hub/no-such-page-{secrets.token_hex(3)}"
    ask(offloaded, "stranger", mark, FORGED)
    assert find_client(offloaded, mark) == offloaded.stranger
    assert read_forwarded(offloaded, "stranger") == {
        "x-forwarded-proto": "http",
        "x-forwarded-for": offloaded.stranger,
    }


@pytest.mark.full
def test_a_release_without_ssh_has_no_part_of_it_and_works_otherwise(release):
    release.install({"ssh": {"enabled": False}, "proxy": {"https": {"enabled": False}}})
    deployments = [each["metadata"]["name"] for each in release.read("deployments")["items"]]
    assert sorted(deployments) == [f"{release.name}-hub", f"{release.name}-proxy"]
    containers = {
        name: spec["spec"]["containers"]
        for name in ("hub", "proxy")
        for spec in [release.read("pod", release.find_pod(name))]
    }
    assert [each["name"] for each in containers["hub"]] == ["hub"]
    ports = [
        port["name"]
        for each in (*containers["hub"], *containers["proxy"])
        for port in each["ports"]
    ]
    assert sorted(ports) == ["hub", "pages", "proxy-api", "public"]
    services = [
        each
        for each in release.read("services")["items"]
        if not each["metadata"]["name"].startswith("ws-")
    ]
    assert sorted(port["name"] for each in services for port in each["spec"]["ports"]) == [
        "http",
        "hub",
        "pages",
        "proxy-api",
    ]
    assert read_banner(release, 80) == b""
    assert release.request("GET", "/hub/login", headers={})[0] == 200
    release.start_workspace("bea")
    assert release.request("GET", "/user/bea/api")[0] == 200
    assert "Succeeded" in release.helm("test", release.name, "--timeout", "3m")


@pytest.fixture(scope="module")
def ordered(make_release, wait_for):
    """A release whose certificate is ordered of a cert-manager that does nothing: its issuer does
    not exist.
    """
    with defined(wait_for, "Certificate"):
        made = make_release()
        values = merge(
            read_example("letsencrypt"),
            {"proxy": {"https": {"letsencrypt": {"issuerRef": {"name": "nobody"}}}}},
        )
        try:
            made.notes = made.install(values, wait=False)
            yield made
        finally:
            made.helm(
                "uninstall", made.name, check=False
            )  # while the cluster knows what a Certificate is


def issue(release, folder: Path) -> Path:
    """Do with the Certificate, as it stands in the cluster, what cert-manager's controller does;
    return the pair.
    """
    (certificate,) = release.read("certificates.cert-manager.io")["items"]
    (name,) = certificate["spec"]["dnsNames"]
    made = make_pair(folder, name=name)
    replace_secret(release, made, certificate["spec"]["secretName"])
    return made


@pytest.fixture(scope="module")
def issued(ordered, tmp_path_factory):
    """The release after the first certificate came."""
    ordered.pair = issue(ordered, tmp_path_factory.mktemp("issued") / "ssl")
    ordered.kubectl("rollout", "status", f"deployment/{ordered.name}-proxy", "--timeout=170s")
    ordered.wait_for(ordered.is_answered, "the hub answers through the proxy", 20)
    return ordered


@pytest.mark.full
def test_the_proxy_waits_for_the_certificate_of_cert_manager_while_the_hub_is_up(ordered):
    ordered.kubectl("rollout", "status", f"deployment/{ordered.name}-hub", "--timeout=170s")
    proxy = ordered.find_pod("proxy")
    said = (
        "get",
        "events",
        "--field-selector",
        f"involvedObject.name={proxy},reason=FailedMount",
        "--output",
        "jsonpath={..message}",
    )
    missing = f'secret "{ordered.name}-proxy-tls" not found'
    ordered.wait_for(
        lambda: missing in ordered.kubectl(*said), "an event names the Secret that is missing", 30
    )
    assert ordered.read("pod", proxy)["status"]["phase"] == "Pending"


@pytest.mark.full
def test_the_certificate_of_cert_manager_is_served_beside_ssh_and_so_is_its_renewal(
    issued, tmp_path
):
    assert read_certificate(issued) == read_file(issued.pair)
    assert [read_banner(issued, port)[:8] for port in (443, 80)] == [b"SSH-2.0-"] * 2
    before = look_at_proxy(issued)
    renewed = issue(issued, tmp_path / "renewed")
    look_at_volumes(issued)
    issued.wait_for(
        lambda: serves(issued, renewed), "the renewed certificate is served", KUBELET_SECONDS
    )
    assert look_at_proxy(issued) == before


@pytest.mark.full
def test_an_uninstalled_release_leaves_the_certificate_that_its_notes_name(issued):
    secret = f"secret/{issued.name}-proxy-tls"
    assert f"`helm uninstall` leaves secret/{issued.name}-hub, {secret}" in issued.notes
    issued.helm("uninstall", issued.name, "--wait")
    assert issued.read("certificates.cert-manager.io")["items"] == []
    assert issued.kubectl("get", secret, "--output", "name") == secret
