"""Each rule of the policy is attacked through form and API of the real hub, and what runs is looked
at by the engine's eyes.
"""

from __future__ import annotations

import http.cookiejar
import json
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.hub_container import CONFIG, TEST_IMAGE, Hub, docker

MEBIBYTE = 2**20
UUIDS = ["GPU-11111111-2222-3333-4444-555555555555", "GPU-66666666-7777-8888-9999-000000000000"]
POLICY = f"""
images:
  - {{name: small, image: "{TEST_IMAGE}"}}
  - {{name: bare, image: "{TEST_IMAGE}", options: [mem_limit]}}
  - {{name: forbidden, image: "mltooling/mlhub-workspace:latest"}}
everyone:
  images: [small, bare]
  custom_images: ["example.org/team/*"]
  options: [image, cpu_limit, mem_limit, shm_size, gpus, env, days_to_live]
  cpu_limit: {{default: 0.5, max: 1}}
  mem_limit: {{default: 256M, max: 512M}}
  shm_size: {{default: 32M, max: 64M}}
  gpus: {{max: 1, devices: [0]}}
  days_to_live: {{default: 2, max: 5}}
  env: {{allow: [COLOUR*, SECRET_*], deny: [SECRET_*]}}
  total: {{servers: 2}}
groups:
  greens: {{cpu_limit: {{max: 0.75}}}}
  crowd: {{group_total: {{mem_limit: 400M}}}}
users:
  eve: {{mem_limit: {{max: 300M}}}}
  sam: {{total: {{cpu_limit: 0.75, mem_limit: 500M}}}}
  vera: {{total: {{volumes: 1}}}}
  nora: {{total: {{volumes: 0}}}}
"""
# Facts of the site: who is in which group, and GPUs that this engine does not have, so that only
# the policy can refuse them.
SITE = (
    CONFIG
    + f"""
c.JupyterHub.load_groups = {{"greens": {{"users": ["gina"]}}, \
"crowd": {{"users": ["carla", "clara"]}}}}
c.DockerSpawner.host_gpus = {UUIDS!r}
"""
)
# What a careless site writes: it hands whatever the person sent to the spawner.
CARELESS = (
    SITE
    + """
def hand_on(spawner, options):
    for name in ("image", "cpu_limit", "mem_limit"):
        if name in options:
            setattr(spawner, name, options[name])

def ask_for_more(spawner):
    if spawner.user.name == "greedy":
        spawner.mem_limit = "64G"
    if spawner.user.name == "hasty":
        spawner.cpu_limit = 64
    if spawner.user.name == "sneaky":
        spawner.user_options = {"cpu_limit": 64}
    if spawner.user.name == "painter":
        spawner.image = "mltooling/mlhub-workspace:latest"
    if spawner.user.name == "modest":
        spawner.cpu_limit, spawner.mem_limit, spawner.image = \
0.25, "128M", "mlhub-test-workspace:latest"

c.Spawner.apply_user_options = hand_on
c.Spawner.pre_spawn_hook = ask_for_more
"""
)
ATTACKS: list[dict[str, Any]] = [
    {"image": "forbidden"},
    {"image": "mltooling/mlhub-workspace:latest"},
    {"image": "debian:trixie-slim"},
    {"is_custom_image": "true", "custom_image": "debian:trixie-slim"},
    {"cpu_limit": "2"},
    {"cpu_limit": "nan"},
    {"cpu_limit": "-1"},
    {"mem_limit": "1G"},
    {"mem_limit": "9" * 400},
    {"shm_size": "65M"},
    {"gpus": "1"},
    {"gpus": "0,1"},
    {"gpus": UUIDS[1]},
    {"gpus": ",".join(UUIDS)},
    {"days_to_live": "6"},
    {"days_to_live": "0"},
    {"env": "SECRET_KEY=1"},
    {"env": "JUPYTERHUB_API_TOKEN=1"},
    {"env": "LD_PRELOAD=/tmp/x.so"},
    {"env": "OTHER=1"},
    {"is_mount_volume": "false"},
    {"image": "bare", "cpu_limit": "0.25"},
    {"image": "bare", "env": "COLOUR=blue"},
    {"is_custom_image": "true", "custom_image": "example.org/other/image:1"},
    {"is_custom_image": "true", "custom_image": "evil/example.org/team/image"},
    {"is_custom_image": "true", "custom_image": "example.org/teammate"},
    {"privileged": "true"},
    {"volumes": "/:/host"},
]
# What is no harm for everybody is refused to these.
OTHERS: list[tuple[str, dict[str, Any]]] = [
    ("gina", {"cpu_limit": "1"}),
    ("eve", {"mem_limit": "301M"}),
    ("sam", {"cpu_limit": "1", "mem_limit": "128M"}),
    ("sam", {"mem_limit": "512M"}),
    ("nora", {}),
    ("carla", {"mem_limit": "401M"}),
]
EVERY_ATTACK = [*(("mallory", options) for options in ATTACKS), *OTHERS]


@pytest.fixture(scope="module")
def policy_file(tmp_path_factory):
    file = tmp_path_factory.mktemp("policy") / "policy.yaml"
    file.parent.chmod(0o755)
    file.write_text(POLICY)
    return file


def write(file, text: str) -> None:
    """Write the policy at once; a hub never sees half of it."""
    fresh = file.with_suffix(".new")
    fresh.write_text(text)
    fresh.rename(file)


@pytest.fixture(scope="module")
def careless(make_hub, policy_file) -> Hub:
    mounts = (f"{policy_file.parent}:/etc/mlhub:ro",)
    return make_hub(CARELESS, mounts=mounts, POLICY_FILE="/etc/mlhub/policy.yaml")


# What hooks are given there is more than without them, so the other one is the long tier's.
@pytest.fixture(scope="module", params=["careless", pytest.param("plain", marks=pytest.mark.full)])
def limited(request, make_hub, policy_file) -> Hub:
    if request.param == "careless":
        return request.getfixturevalue("careless")
    mounts = (f"{policy_file.parent}:/etc/mlhub:ro",)
    return make_hub(SITE, mounts=mounts, POLICY_FILE="/etc/mlhub/policy.yaml")


@pytest.fixture(scope="module")
def sign_in():
    """Return a function that returns somebody's browser, which signs in once at each hub."""
    people: dict[tuple[str, str], Person] = {}

    def sign_in_once(hub: Hub, user: str) -> Person:
        if (hub.name, user) not in people:
            people[hub.name, user] = Person(hub, user)
        return people[hub.name, user]

    return sign_in_once


class Person:
    """Somebody with a browser's cookies."""

    def __init__(self, hub: Hub, name: str) -> None:
        self.hub, self.name = hub, name
        self.jar = http.cookiejar.CookieJar()
        self.opener = urllib.request.build_opener(
            urllib.request.HTTPCookieProcessor(self.jar), urllib.request.ProxyHandler({})
        )
        page = self.open("/hub/login")[1]
        self.open("/hub/login", {"username": name, "password": "x", "_xsrf": read_xsrf(page)})

    def open(self, path: str, fields: dict[str, Any] | None = None) -> tuple[int, str]:
        data = urllib.parse.urlencode(fields).encode() if fields is not None else None
        try:
            with self.opener.open(self.hub.url + path, data, timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def submit(self, options: dict[str, Any]) -> tuple[int, str]:
        """Fill in the form; the answer is that of the page which follows.

        A hub that takes more than a second to refuse leads to the page of a start that has failed,
        which comes anew until it tells why.
        """
        form = self.read_on(f"/hub/spawn/{self.name}")[1]
        code, page = self.open(f"/hub/spawn/{self.name}", {"_xsrf": read_xsrf(form), **options})
        return self.read_on(f"/hub/spawn-pending/{self.name}") if is_ending(page) else (code, page)

    def read_on(self, path: str) -> tuple[int, str]:
        """Load a page as often as a browser does while a start ends."""
        deadline = time.monotonic() + 60
        while True:
            code, page = self.open(path)
            if not is_ending(page):
                return code, page
            assert time.monotonic() < deadline, page[:3000]
            time.sleep(0.2)


def is_ending(page: str) -> bool:
    return "The reason is shown here in a moment" in page


def read_xsrf(page: str) -> str:
    found = re.search(r'name="_xsrf" value="([^"]*)"', page)
    assert found, page[:3000]
    return found[1]


def inspect(hub: Hub, user: str = "") -> list[dict[str, Any]]:
    """Return the containers of a hub's workspaces, or of one person's."""
    names = hub.containers()
    found = json.loads(docker("inspect", *names)) if names else []
    return [each for each in found if user in ("", each["Config"]["Labels"]["mlhub.user"])]


def assert_within_policy(container: dict[str, Any]) -> None:
    host = container["HostConfig"]
    assert container["Config"]["Image"] == TEST_IMAGE
    assert 0 < host["CpuQuota"] / host["CpuPeriod"] <= 1
    assert 0 < host["Memory"] <= 512 * MEBIBYTE
    assert host["MemorySwap"] == host["Memory"]
    assert 0 < host["ShmSize"] <= 64 * MEBIBYTE
    assert 0 < host["PidsLimit"] <= 4096
    assert "no-new-privileges" in host["SecurityOpt"]
    assert host["CapDrop"] == ["ALL"]
    assert not host["Privileged"]
    assert not host["DeviceRequests"]
    assert not any(bind.startswith("/") for bind in host["Binds"] or [])
    names = {entry.partition("=")[0] for entry in container["Config"]["Env"]}
    assert not names & {"SECRET_KEY", "LD_PRELOAD"}


@pytest.mark.parametrize(
    ("user", "options"),
    EVERY_ATTACK,
    ids=lambda part: part if isinstance(part, str) else str(part)[:60],
)
def test_no_attack_through_either_door_makes_a_container(limited, sign_in, user, options):
    limited.request("POST", f"/hub/api/users/{user}", b"")
    status, _, body = limited.request(
        "POST", f"/hub/api/users/{user}/server", {"user_options": options}
    )
    assert status == 400, body
    assert len(json.loads(body)["message"]) > 20
    code, page = sign_in(limited, user).submit(options)
    assert code == 400, page[:2000]
    assert inspect(limited, user) == []


def test_what_is_granted_through_either_door_is_what_the_engine_was_told(limited, wait_for):
    options = {
        "cpu_limit": "1",
        "mem_limit": "300M",
        "shm_size": "48M",
        "env": "COLOUR=blue",
        "days_to_live": "3",
    }
    for user, start in (("rosa", by_rest), ("fritz", by_form)):
        start(limited, user, options)
        wait_for(lambda user=user: limited.is_workspace_ready(user), "the workspace is ready", 60)
        (container,) = inspect(limited, user)
        assert_within_policy(container)
        assert container["HostConfig"]["Memory"] == 300 * MEBIBYTE
        assert container["HostConfig"]["ShmSize"] == 48 * MEBIBYTE
        assert "COLOUR=blue" in container["Config"]["Env"]
        told = limited.api("GET", f"users/{user}/server/workspace")["expires_at"]
        assert int(container["Config"]["Labels"]["expiration_timestamp_seconds"]) == told
        limited.stop_workspace(user)


def by_rest(hub: Hub, user: str, options: dict[str, Any]) -> None:
    hub.request("POST", f"/hub/api/users/{user}", b"")
    hub.api("POST", f"users/{user}/server", {"user_options": options})


def by_form(hub: Hub, user: str, options: dict[str, Any]) -> None:
    code, page = Person(hub, user).submit(options)
    assert code == 200, page[:2000]


def ask_refused(hub: Hub, user: str, options: dict[str, Any], server: str = "") -> str:
    """Ask for a start that is refused, and return the sentence."""
    status, _, body = hub.request(
        "POST", f"/hub/api/users/{user}/servers/{server}", {"user_options": options}
    )
    assert status == 400, body
    return str(json.loads(body)["message"])


def test_what_these_people_may_have_is_granted_to_them_and_no_more_beside_it(limited, wait_for):
    """The twins of attacks above that are refused to some alone, and the sums over what runs."""
    granted = [
        ("gina", {"cpu_limit": "0.75"}),
        ("eve", {"mem_limit": "300M"}),
        ("sam", {"cpu_limit": "0.5", "mem_limit": "300M"}),
    ]
    granted += [
        ("vera", {}),
        ("carla", {"mem_limit": "300M"}),
        ("max", {"image": "bare", "mem_limit": "128M"}),
    ]
    for user, options in granted:
        by_rest(limited, user, options)
    limited.request("POST", "/hub/api/users/clara", b"")
    for user, _ in granted:
        wait_for(
            lambda user=user: limited.is_workspace_ready(user),
            f"the workspace of {user} is ready",
            60,
        )
    assert "0.75 CPUs in all" in ask_refused(
        limited, "sam", {"cpu_limit": "0.5", "mem_limit": "128M"}, "second"
    )
    assert "500 MB of memory in all" in ask_refused(
        limited, "sam", {"cpu_limit": "0.25", "mem_limit": "256M"}, "second"
    )
    assert "1 volume at once" in ask_refused(limited, "vera", {}, "second")
    assert "The group crowd may have 400 MB of memory" in ask_refused(
        limited, "clara", {"mem_limit": "128M"}
    )
    code, page = Person(limited, "clara").submit({"mem_limit": "128M"})
    assert (code, "The group crowd may have 400 MB of memory" in page) == (400, True), page[:2000]
    found = {each["Config"]["Labels"]["mlhub.user"]: each for each in inspect(limited)}
    for user, _ in granted:
        assert_within_policy(found[user])
        limited.stop_workspace(user)
    assert found["gina"]["HostConfig"]["CpuQuota"] == 75_000
    assert found["eve"]["HostConfig"]["Memory"] == 300 * MEBIBYTE
    assert "clara" not in found


def test_a_gpu_that_is_allowed_comes_as_far_as_a_created_container(limited):
    """This engine has none to give: the twin of the attacks is its own refusal to start what was
    created.
    """
    limited.request("POST", "/hub/api/users/gustav", b"")
    began = str(int(time.time()))
    status, _, body = limited.request(
        "POST", "/hub/api/users/gustav/server", {"user_options": {"gpus": "0"}}
    )
    assert status == 503, body
    assert "cannot give GPUs to containers" in json.loads(body)["message"]
    told = docker(
        "events",
        "--since",
        began,
        "--until",
        str(int(time.time()) + 1),
        "--filter",
        "event=create",
        "--filter",
        "label=mlhub.user=gustav",
    )
    assert "container create" in told


def test_the_site_s_own_hook_gets_no_more_either(careless, wait_for):
    hub = careless
    for user, words in (
        ("greedy", "at most"),
        ("hasty", "at most"),
        ("sneaky", "at most"),
        ("painter", "not offered"),
    ):
        hub.request("POST", f"/hub/api/users/{user}", b"")
        assert words in ask_refused(hub, user, {})
        code, page = Person(hub, user).submit({})
        assert (code, words in page) == (400, True), page[:2000]
        assert inspect(hub, user) == []
    by_rest(hub, "modest", {"cpu_limit": "1"})
    wait_for(lambda: hub.is_workspace_ready("modest"), "the workspace is ready", 60)
    (container,) = inspect(hub, "modest")
    assert_within_policy(container)
    assert (container["HostConfig"]["CpuQuota"], container["HostConfig"]["Memory"]) == (
        25_000,
        128 * MEBIBYTE,
    )


def test_stale_options_of_a_more_generous_policy_start_nothing(limited, policy_file):
    hub = limited
    hub.start_workspace("stella", options={"user_options": {"mem_limit": "512M"}})
    hub.stop_workspace("stella")
    write(policy_file, POLICY.replace("max: 512M", "max: 256M"))
    try:
        assert_stored_options_start_nothing(hub)
        hub.start_workspace("stella", options={"user_options": {"mem_limit": "128M"}})
        assert inspect(hub, "stella")[0]["HostConfig"]["Memory"] == 128 * MEBIBYTE
    finally:
        write(policy_file, POLICY)


def assert_stored_options_start_nothing(hub: Hub) -> None:
    status, _, body = hub.request("POST", "/hub/api/users/stella/server", b"")
    assert status == 400, body
    assert "at most 256 MB" in json.loads(body)["message"]
    stella = Person(hub, "stella")
    code, page = stella.open("/hub/spawn/stella")
    assert 'value="512M"' in page, page[:3000]  # the form shows what is stored, and sends it again
    code, page = stella.submit({"mem_limit": "512M"})
    assert (code, "at most 256 MB" in page) == (400, True), page[:2000]
    assert not any(each["State"]["Running"] for each in inspect(hub, "stella"))


def test_a_quota_holds_when_twenty_starts_arrive_at_once(limited):
    user = "swarm"
    limited.request("POST", f"/hub/api/users/{user}", b"")
    with ThreadPoolExecutor(20) as pool:
        answers = list(
            pool.map(
                lambda number: limited.request(
                    "POST", f"/hub/api/users/{user}/servers/s{number}", {}
                )[0],
                range(20),
            )
        )
    assert sum(status in (201, 202) for status in answers) == 2, answers
    assert sum(status == 400 for status in answers) == 18, answers
    limited.wait_for(
        lambda: sum(limited.is_workspace_ready(user, f"s{number}") for number in range(20)) == 2,
        "two are ready",
        60,
    )
    assert len(inspect(limited, user)) == 2


def test_a_quota_holds_when_twenty_forms_arrive_at_once(limited):
    user = "flock"
    person = Person(limited, user)
    xsrf = read_xsrf(person.open(f"/hub/spawn/{user}")[1])
    with ThreadPoolExecutor(20) as pool:
        codes = list(
            pool.map(
                lambda number: person.open(f"/hub/spawn/{user}/s{number}", {"_xsrf": xsrf})[0],
                range(20),
            )
        )
    assert set(codes) <= {
        200,
        400,
    }, codes  # a start that is not refused within a second is told on the next page

    def are_decided() -> bool:
        servers = limited.api("GET", f"users/{user}")["servers"].values()
        return (
            not any(server["pending"] for server in servers)
            and sum(server["ready"] for server in servers) == 2
        )

    limited.wait_for(are_decided, "two are ready and nothing is pending", 60)
    assert len(inspect(limited, user)) == 2
