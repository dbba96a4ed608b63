"""Each rule of the policy is attacked through both doors of the real hub, and what runs is looked at by the engine's eyes."""

from __future__ import annotations

import http.cookiejar
import json
import re
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

import pytest

from tests.image.conftest import CONFIG, TEST_IMAGE, Hub, docker

MEBIBYTE = 2**20
POLICY = f"""
images:
  - {{name: small, image: "{TEST_IMAGE}"}}
  - {{name: forbidden, image: "mltooling/ml-workspace:latest"}}
everyone:
  images: [small]
  cpu_limit: {{default: 0.5, max: 1}}
  mem_limit: {{default: 256M, max: 512M}}
  shm_size: {{default: 32M, max: 64M}}
  gpus: {{max: 0}}
  days_to_live: {{default: 2, max: 5}}
  env: {{deny: [SECRET_*]}}
  total: {{servers: 2}}
"""
# What a careless site writes: it hands whatever the person sent to the spawner.
CARELESS = (
    CONFIG
    + """
def hand_on(spawner, options):
    for name in ("image", "cpu_limit", "mem_limit"):
        if name in options:
            setattr(spawner, name, options[name])

def ask_for_more(spawner):
    if spawner.user.name == "greedy":
        spawner.mem_limit = "64G"
    if spawner.user.name == "sneaky":
        spawner.user_options = {"cpu_limit": 64}

c.Spawner.apply_user_options = hand_on
c.Spawner.pre_spawn_hook = ask_for_more
"""
)
ATTACKS: list[dict[str, Any]] = [
    {"image": "forbidden"},
    {"image": "mltooling/ml-workspace:latest"},
    {"image": "debian:trixie-slim"},
    {"is_custom_image": "true", "custom_image": "debian:trixie-slim"},
    {"cpu_limit": "2"},
    {"cpu_limit": "nan"},
    {"cpu_limit": "-1"},
    {"mem_limit": "1G"},
    {"mem_limit": "9" * 400},
    {"shm_size": "65M"},
    {"gpus": "all"},
    {"gpus": "0"},
    {"days_to_live": "6"},
    {"days_to_live": "0"},
    {"env": "SECRET_KEY=1"},
    {"env": "JUPYTERHUB_API_TOKEN=1"},
    {"env": "LD_PRELOAD=/tmp/x.so"},
    {"privileged": "true"},
    {"volumes": "/:/host"},
]


@pytest.fixture(scope="module")
def policy_file(tmp_path_factory):
    file = tmp_path_factory.mktemp("policy") / "policy.yaml"
    file.write_text(POLICY)
    return file


@pytest.fixture(scope="module", params=["plain", "careless"])
def limited(request, make_hub, policy_file) -> Hub:
    config = CONFIG if request.param == "plain" else CARELESS
    return make_hub(config, mounts=(f"{policy_file}:/resources/policy.yaml:ro",))


class Person:
    """Somebody with a browser's cookies."""

    def __init__(self, hub: Hub, name: str) -> None:
        self.hub, self.name = hub, name
        self.jar = http.cookiejar.CookieJar()
        self.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.jar), urllib.request.ProxyHandler({}))
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
        """Fill in the form; the answer is that of the page which follows."""
        page = self.open(f"/hub/spawn/{self.name}")[1]
        return self.open(f"/hub/spawn/{self.name}", {"_xsrf": read_xsrf(page), **options})


def read_xsrf(page: str) -> str:
    found = re.search(r'name="_xsrf" value="([^"]*)"', page)
    assert found, page[:3000]
    return found[1]


def inspect(hub: Hub) -> list[dict[str, Any]]:
    names = hub.containers()
    return json.loads(docker("inspect", *names)) if names else []


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


@pytest.mark.parametrize("options", ATTACKS, ids=lambda options: "-".join(options)[:40] + "-" + str(next(iter(options.values())))[:12])
def test_no_attack_through_either_door_makes_a_container(limited, options):
    user = "mallory"
    limited.request("POST", f"/hub/api/users/{user}", b"")
    status, _, body = limited.request("POST", f"/hub/api/users/{user}/server", {"user_options": options})
    assert status == 400, body
    assert len(json.loads(body)["message"]) > 20
    code, page = Person(limited, user).submit(options)
    assert code == 400, page[:2000]
    assert not [each for each in inspect(limited) if each["Config"]["Labels"]["mlhub.user"] == user]


def test_what_is_granted_through_either_door_is_what_the_engine_was_told(limited, wait_for):
    options = {"cpu_limit": "1", "mem_limit": "300M", "shm_size": "48M", "env": "COLOUR=blue", "days_to_live": "3"}
    for user, start in (("rosa", by_rest), ("fritz", by_form)):
        start(limited, user, options)
        wait_for(lambda user=user: limited.is_workspace_ready(user), "the workspace is ready", 60)
        container = next(each for each in inspect(limited) if each["Config"]["Labels"]["mlhub.user"] == user)
        assert_within_policy(container)
        assert container["HostConfig"]["Memory"] == 300 * MEBIBYTE
        assert container["HostConfig"]["ShmSize"] == 48 * MEBIBYTE
        assert "COLOUR=blue" in container["Config"]["Env"]
        assert int(container["Config"]["Labels"]["expiration_timestamp_seconds"]) > 0
        limited.stop_workspace(user)


def by_rest(hub: Hub, user: str, options: dict[str, Any]) -> None:
    hub.request("POST", f"/hub/api/users/{user}", b"")
    hub.api("POST", f"users/{user}/server", {"user_options": options})


def by_form(hub: Hub, user: str, options: dict[str, Any]) -> None:
    code, page = Person(hub, user).submit(options)
    assert code == 200, page[:2000]


def test_the_site_s_own_hook_gets_no_more_either(make_hub, policy_file):
    hub = make_hub(CARELESS, mounts=(f"{policy_file}:/resources/policy.yaml:ro",))
    for user in ("greedy", "sneaky"):
        hub.request("POST", f"/hub/api/users/{user}", b"")
        status, _, body = hub.request("POST", f"/hub/api/users/{user}/server", {})
        assert status == 400, body
        assert "at most" in json.loads(body)["message"]
    assert hub.containers() == []


def test_stale_options_of_a_more_generous_policy_start_nothing(make_hub, tmp_path):
    folder = tmp_path / "policy"
    folder.mkdir()
    file = folder / "policy.yaml"
    file.write_text(POLICY)
    hub = make_hub(CONFIG, mounts=(f"{folder}:/etc/mlhub:ro",), POLICY_FILE="/etc/mlhub/policy.yaml")
    hub.start_workspace("stella", options={"user_options": {"mem_limit": "512M"}})
    hub.stop_workspace("stella")
    fresh = folder / "policy.new"
    fresh.write_text(POLICY.replace("max: 512M", "max: 256M"))
    fresh.rename(file)
    status, _, body = hub.request("POST", "/hub/api/users/stella/server", b"")
    assert status == 400, body
    assert "at most 256M" in json.loads(body)["message"]
    assert not any(each["State"]["Running"] for each in inspect(hub))
    hub.start_workspace("stella", options={"user_options": {"mem_limit": "128M"}})
    assert inspect(hub)[0]["HostConfig"]["Memory"] == 128 * MEBIBYTE


def test_a_quota_holds_when_twenty_starts_arrive_at_once(limited):
    from concurrent.futures import ThreadPoolExecutor

    user = "swarm"
    limited.request("POST", f"/hub/api/users/{user}", b"")
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda number: limited.request("POST", f"/hub/api/users/{user}/servers/s{number}", {})[0], range(20)))
    assert sum(status in (201, 202) for status in answers) == 2, answers
    assert sum(status == 400 for status in answers) == 18, answers
    limited.wait_for(lambda: sum(limited.is_workspace_ready(user, f"s{number}") for number in range(20)) == 2, "two are ready", 60)
    assert len([each for each in inspect(limited) if each["Config"]["Labels"]["mlhub.user"] == user]) == 2


def test_a_policy_that_nobody_can_read_ends_the_container_with_its_line(make_hub, tmp_path):
    file = tmp_path / "policy.yaml"
    file.write_text("images:\n  - name: a\n    imgae: b\n")
    ended = make_hub(start=False, mounts=(f"{file}:/resources/policy.yaml:ro",)).run_until_it_ends()
    assert ended.code != 0
    assert "policy.yaml:3" in ended.log
    assert "Did you mean image" in ended.log
    assert "Traceback" not in ended.log
