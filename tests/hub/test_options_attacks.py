"""Generated options through form and API of a real hub: never a server error, never more than the
policy gives.
"""

from __future__ import annotations

import json

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlhub.options.model import OPTION_NAMES

POLICY = """
images:
  - {name: small, image: "fake/small:1"}
  - {name: large, image: "fake/large:1"}
everyone:
  images: [small]
  cpu_limit: {default: 1, max: 2}
  mem_limit: {default: 1G, max: 2G}
  shm_size: {max: 512M}
  gpus: {max: 0}
  days_to_live: {default: 2, max: 5}
  env: {deny: [SECRET_*]}
"""
# A hook of the site that hands on whatever the person sent, as many do.
HOOK = """
c.JupyterHub.authenticator_class = "dummy"
c.DummyAuthenticator.allow_all = True
async def look(spawner):
    spawner.log.debug("%s", spawner.user_options)
c.Spawner.pre_spawn_hook = look
"""
COUNTS = {"quick": 50, "deep": 5_000}  # by form and by API
NEVER_SET = ("LD_PRELOAD", "PATH", "JUPYTERHUB_ADMIN", "SECRET_KEY", "NVIDIA_VISIBLE_DEVICES")

NAMES = st.sampled_from(
    [
        *OPTION_NAMES,
        "is_custom_image",
        "custom_image",
        "defined_image",
        "cpu",
        "__class__",
        "environment",
    ]
)
USUAL = [
    "",
    "1",
    "2",
    "0.5",
    "500m",
    "1G",
    "1.5G",
    "512Mi",
    "none",
    "on",
    "false",
    "small",
    "fake/small:1",
    "A=1",
    "B=2\nC=3",
]
HOSTILE = [
    "3",
    "64",
    "-1",
    "nan",
    "inf",
    "1e400",
    "9" * 400,
    "3G",
    "0x10",
    "\x00",
    "a b",
    "../x",
    "all",
    "0,1",
    "large",
    "fake/large:1",
    "evil/x",
]
LINES = [f"{name}=1" for name in NEVER_SET]
TEXTS = st.sampled_from(USUAL) | st.sampled_from([*HOSTILE, *LINES]) | st.text(max_size=20)
JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
REQUESTS = st.dictionaries(NAMES, st.sampled_from(USUAL), max_size=4) | st.dictionaries(
    NAMES | st.text(max_size=8), JUNK, max_size=6
)
FORMS = st.dictionaries(
    NAMES,
    st.lists(TEXTS.filter(lambda text: "\ud800" not in text), min_size=1, max_size=2),
    max_size=5,
)


@pytest.fixture(scope="module")
def hub(module_workspace_hub):
    return module_workspace_hub(HOOK, policy=POLICY)


@pytest.fixture(scope="module")
def admin(hub):
    return hub.service()


def check_inside(hub, admin, name):
    """Check what a workspace that was let start got, and stop it."""
    inside = requests.get(f"{hub.url}/user/{name}/api", timeout=10).json()["environment"]
    assert 0 < float(inside["CPU_LIMIT"]) <= 2
    assert 0 < int(inside["MEM_LIMIT"]) <= 2 * 2**30
    assert inside["FAKE_IMAGE"] == "fake/small:1"
    assert inside["JUPYTERHUB_USER"] == name
    assert not set(NEVER_SET) & set(inside)
    left = admin.get(f"users/{name}/server/workspace").json()["remaining_seconds"]
    assert left is not None
    assert left <= 5 * 86_400
    assert admin.stop(name).status_code == 204


def run(examples, given_by, check):
    """Run a check on so many generated inputs."""
    quiet = [HealthCheck.too_slow, HealthCheck.data_too_large]
    settings(max_examples=examples, deadline=None, database=None, suppress_health_check=quiet)(
        given(given_by)(check)
    )()


def attack_rest(hub, admin, name, examples):
    client = admin.make_person(name)
    seen = {"granted": 0, "refused": 0}

    def check(options):
        answer = client.start(name, options)
        assert answer.status_code in (
            201,
            400,
        ), f"{answer.status_code} for {json.dumps(options)}: {answer.text}"
        if answer.status_code == 400:
            seen["refused"] += 1
            assert len(answer.json()["message"]) > 10
            return
        seen["granted"] += 1
        check_inside(hub, admin, name)

    run(examples, REQUESTS, check)
    # Neither may refuse or grant everything, else nothing was tested.
    assert min(seen.values()) > examples / 75, seen


def attack_form(hub, admin, name, examples):
    admin.make_person(name)
    browser = hub.browser()
    browser.log_in(name, "anything")
    xsrf = (
        browser.xsrf("/hub/token")
        if 'name="_xsrf"' in browser.get("/hub/token").text
        else browser.cookies["_xsrf"]
    )
    seen = {"granted": 0, "refused": 0}

    def check(fields):
        pairs = [(field, text) for field, texts in fields.items() for text in texts]
        answer = browser.post(
            f"/hub/spawn/{name}", data=pairs, params={"_xsrf": xsrf}, allow_redirects=False
        )
        assert answer.status_code in (
            302,
            400,
        ), f"{answer.status_code} for {pairs}: {answer.text[:2000]}"
        if answer.status_code == 400:
            seen["refused"] += 1
            return
        seen["granted"] += 1
        hub.wait_until(
            lambda: (admin.get_server(name) or {}).get("ready"), "the workspace to be ready"
        )
        check_inside(hub, admin, name)

    run(examples, FORMS, check)
    assert min(seen.values()) > examples / 75, seen


def test_many_requests_never_get_more_than_the_policy_gives(hub, admin):
    attack_rest(hub, admin, "mallory", COUNTS["quick"])


def test_many_forms_never_get_more_than_the_policy_gives(hub, admin):
    attack_form(hub, admin, "oscar", COUNTS["quick"])


@pytest.mark.full
def test_five_thousand_requests_never_get_more_than_the_policy_gives(hub, admin):
    attack_rest(hub, admin, "mallory-in-depth", COUNTS["deep"])


@pytest.mark.full
def test_five_thousand_forms_never_get_more_than_the_policy_gives(hub, admin):
    attack_form(hub, admin, "oscar-in-depth", COUNTS["deep"])


@pytest.mark.parametrize(
    "body",
    [
        "[1]",
        '"x"',
        "1",
        '{"user_options": []}',
        '{"user_options": "x"}',
        '{"user_options": 1e999}',
        "{",
        "\x00",
    ],
)
def test_a_body_that_is_no_object_is_refused(hub, admin, body):
    client = admin.make_person("eve")
    answer = client.post(
        "users/eve/server", data=body.encode(), headers={"Content-Type": "application/json"}
    )
    assert 400 <= answer.status_code < 500, answer.text


def test_a_million_keys_and_very_deep_options_are_refused_in_no_time(hub, admin):
    client = admin.make_person("eve")
    deep: object = "x"
    for _ in range(500):
        deep = [deep]
    for options, status in (
        ({f"k{number}": number for number in range(50_000)}, 400),
        ({"env": deep}, 400),
        ({"env": {f"N{n}": "x" for n in range(50_000)}}, 400),
        # More than the hub takes of anybody (mlhub/hub/server.py).
        ({f"k{number}": number for number in range(200_000)}, 413),
    ):
        assert client.start("eve", options).status_code == status
    assert client.get("users/eve").status_code == 200


SECRET = "AAAA-BBBB-CCCC-DDDD"
LICENSED = """
everyone:
  cpu_limit: {default: 1, max: 2}
  license: {variable: LICENSE_KEY}
"""


def list_leaks(hub):
    """List the files of a hub (database, log, audit, sessions) that hold the secret."""
    return [
        file.name
        for file in hub.directory.rglob("*")
        if file.is_file() and not file.is_symlink() and SECRET.encode() in file.read_bytes()
    ]


def test_a_secret_is_in_no_log_no_database_and_no_answer_and_yet_in_the_workspace(workspace_hub):
    hub = workspace_hub(HOOK, policy=LICENSED)
    admin = hub.service()
    owner, other = admin.make_person("owner"), admin.make_person("other")
    options = {"license": SECRET, "cpu_limit": 2}
    answers = [
        owner.put("users/owner/servers/second", json={"user_options": options}),
        owner.patch("users/owner/servers/second", json={"user_options": options}),
        owner.start("owner", {**options, "cpu_limit": 9}),
        owner.start("owner", {"license": [SECRET]}),
        owner.start("owner", {"license": SECRET, "unknown": 1}),
        owner.get("users/owner", params={"opt-license": SECRET, "include_stopped_servers": "1"}),
    ]
    assert [answer.status_code for answer in answers] == [201, 200, 400, 400, 400, 200]
    assert owner.start("owner", options).status_code == 201
    inside = requests.get(f"{hub.url}/user/owner/api", timeout=10).json()["environment"]
    assert inside["LICENSE_KEY"] == SECRET
    question = {"user": "owner", "options": options}
    answers += [
        admin.post("policy/explain", json=question),
        *(
            client.get(path)
            for client in (admin, owner, other)
            for path in (
                "users/owner?include_stopped_servers=1",
                "users/owner/server/workspace",
                "users/owner/options-schema",
                "users?include_stopped_servers=1",
            )
        ),
    ]
    browser = hub.browser()
    browser.log_in("owner", "anything")
    answers += [
        browser.get(path)
        for path in (
            "/hub/home",
            "/hub/spawn/owner/second",
            f"/hub/spawn/owner/second?opt-license={SECRET}",
        )
    ]
    assert not [answer.url for answer in answers if SECRET in answer.text]
    assert owner.stop("owner").status_code == 204
    # Started again without options, also by the next hub: it is kept, and only for this workspace.
    hub.stop()
    hub.start()
    assert owner.start("owner").status_code == 201
    inside = requests.get(f"{hub.url}/user/owner/api", timeout=10).json()["environment"]
    assert inside["LICENSE_KEY"] == SECRET
    assert list_leaks(hub) == []


def test_a_copy_of_what_is_kept_gives_a_secret_to_nobody(workspace_hub):
    hub = workspace_hub(HOOK, policy=LICENSED)
    admin = hub.service()
    owner, thief = admin.make_person("owner"), admin.make_person("thief")
    assert owner.start("owner", {"license": SECRET}).status_code == 201
    kept = owner.get("users/owner/server/workspace").json()["options"]["license"]
    for client, name, server in ((thief, "thief", ""), (owner, "owner", "second")):
        refused = client.start(name, {"license": kept}, server)
        assert refused.status_code == 400
        assert "Type it again" in refused.json()["message"]
    browser = hub.browser()
    browser.log_in("thief", "anything")
    explained = admin.post("policy/explain", json={"user": "thief", "options": {"license": kept}})
    assert SECRET not in explained.text
    assert owner.stop("owner").status_code == 204
    assert owner.start("owner", {"license": kept}).status_code == 201
