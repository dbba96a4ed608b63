"""Options and policy through the REST API of a real hub: what is granted, what is refused, and what
is left behind.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from tests.support.policy_examples import read_example

POLICY = """
images:
  - {name: small, image: "fake/small:1", description: One core is enough}
  - {name: large, image: "fake/large:1"}
  - {name: broken, image: "fake/dies"}
  - {name: slow, image: "fake/slow"}
everyone:
  images: [small, broken, slow]
  cpu_limit: {default: 1, max: 2}
  mem_limit: {default: 1G, max: 2G}
  days_to_live: {default: 2, max: 5}
  env: {deny: [SECRET_*]}
  total: {servers: 3, cpu_limit: 4}
groups:
  strong:
    images: ["*"]
    cpu_limit: {max: 4}
    total: {cpu_limit: 8}
admins:
  images: ["*"]
  cpu_limit: {max: 8}
  days_to_live: {max: 20}
  total: {servers: unlimited, cpu_limit: unlimited}
"""


@pytest.fixture(scope="module")
def hub(module_workspace_hub):
    return module_workspace_hub("c.Authenticator.admin_users = {'boss'}", policy=POLICY)


@pytest.fixture(scope="module")
def admin(hub):
    return hub.service()


@pytest.fixture
def person(admin, request):
    name = request.node.name[:40].replace("_", "-").replace("[", "-").replace("]", "").lower()
    client = admin.make_person(name)
    client.name = name
    yield client
    for server in ("", "one", "two", "three"):
        admin.stop(name, server)


def look_inside(hub, admin, name, server=""):
    """Ask a running workspace what it was started with."""
    port = f"{hub.url}/user/{name}/{server + '/' if server else ''}api"
    return requests.get(port, timeout=10).json()["environment"]


def test_what_is_asked_within_the_policy_is_granted(hub, admin, person):
    answer = person.start(
        person.name, {"cpu_limit": "2", "mem_limit": "1.5G", "env": "A=b\nC=d=e", "image": "small"}
    )
    assert answer.status_code == 201, answer.text
    inside = look_inside(hub, admin, person.name)
    assert (inside["CPU_LIMIT"], inside["MEM_LIMIT"]) == ("2.0", str(1536 * 2**20))
    assert (inside["A"], inside["C"], inside["FAKE_IMAGE"]) == ("b", "d=e", "fake/small:1")


def test_whoever_asks_nothing_gets_the_defaults(hub, admin, person):
    assert person.start(person.name).status_code == 201
    inside = look_inside(hub, admin, person.name)
    assert (inside["CPU_LIMIT"], inside["MEM_LIMIT"], inside["FAKE_IMAGE"]) == (
        "1.0",
        str(2**30),
        "fake/small:1",
    )


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"cpu_limit": 3}, "at most 2"),
        ({"cpu_limit": "NaN"}, "cpu_limit"),
        ({"cpu_limit": -1}, "cpu_limit"),
        ({"mem_limit": "3G"}, "mem_limit=3 GB is more than you may have. Ask for at most 2 GB"),
        ({"mem_limit": "9" * 400}, "mem_limit"),
        ({"image": "large"}, "not offered"),
        ({"image": "fake/large:1"}, "not offered"),
        ({"image": "evil/image"}, "not offered"),
        ({"is_custom_image": True, "custom_image": "evil/image"}, "not offered"),
        ({"env": "JUPYTERHUB_API_TOKEN=x"}, "JUPYTERHUB_API_TOKEN"),
        ({"env": {"LD_PRELOAD": "/x.so"}}, "LD_PRELOAD"),
        ({"env": {"SECRET_KEY": "1"}}, "SECRET_KEY"),
        ({"env": "no equals sign"}, "'='"),
        ({"days_to_live": 6}, "at most 5"),
        ({"days_to_live": 0}, "at most 5"),
        ({"gpus": "0,1,x;rm"}, "gpus"),
        ({"privileged": True}, "not known"),
        ({"cpu_limt": 1}, "Did you mean cpu_limit"),
        ({"volumes": {"/": "/host"}}, "not known"),
    ],
)
def test_what_is_forbidden_or_malformed_is_refused_and_nothing_starts(admin, person, options, word):
    answer = person.start(person.name, options)
    assert answer.status_code == 400
    assert word in answer.json()["message"]
    server = admin.get_server(person.name)
    assert server is None or (not server["ready"] and server["user_options"] == {})


def test_a_refusal_keeps_the_last_accepted_options_and_the_next_start_uses_them(hub, admin, person):
    assert person.start(person.name, {"cpu_limit": 2}).status_code == 201
    assert person.stop(person.name).status_code == 204
    assert person.start(person.name, {"cpu_limit": 64}).status_code == 400
    assert person.start(person.name).status_code == 201
    assert look_inside(hub, admin, person.name)["CPU_LIMIT"] == "2.0"


def test_stored_options_that_the_policy_forbids_by_now_are_refused(hub, admin, person):
    assert person.start(person.name, {"cpu_limit": 2}).status_code == 201
    person.stop(person.name)
    try:
        hub.policy(
            POLICY.replace("cpu_limit: {default: 1, max: 2}", "cpu_limit: {default: 1, max: 1.5}")
        )
        answer = person.start(person.name)
        assert answer.status_code == 400
        assert "at most 1.5" in answer.json()["message"]
        assert person.start(person.name, {}).status_code == 201
        assert look_inside(hub, admin, person.name)["CPU_LIMIT"] == "1.0"
    finally:
        hub.policy(POLICY)


def test_options_that_somebody_stored_beside_the_start_are_checked_at_the_start(admin, person):
    assert (
        person.put(
            f"users/{person.name}/servers/one", json={"user_options": {"cpu_limit": 100}}
        ).status_code
        == 201
    )
    answer = person.start(person.name, server="one")
    assert answer.status_code == 400
    assert "at most 2" in answer.json()["message"]


def test_a_broken_new_policy_leaves_the_old_one_in_force(hub, admin, person):
    try:
        hub.policy("everyone:\n  cpu_limit: {max: lots}\n")
        answer = person.start(person.name, {"cpu_limit": 3})
        assert answer.status_code == 400
        assert "at most 2" in answer.json()["message"]
        assert "policy.yaml:2" in hub.log
    finally:
        hub.policy(POLICY)


def test_groups_give_what_everyone_has_not(hub, admin):
    member = admin.make_person("member-of-strong", groups=("strong",))
    try:
        assert (
            member.start("member-of-strong", {"image": "large", "cpu_limit": 4}).status_code == 201
        )
        assert look_inside(hub, admin, "member-of-strong")["FAKE_IMAGE"] == "fake/large:1"
    finally:
        admin.stop("member-of-strong")


def test_the_same_cpus_are_not_given_twice(admin, person):
    assert person.start(person.name, {"cpu_limit": 2}).status_code == 201
    assert person.start(person.name, {"cpu_limit": 2}, server="one").status_code == 201
    answer = person.start(person.name, {"cpu_limit": 0.5}, server="two")
    assert answer.status_code == 400
    assert "4 CPUs in all" in answer.json()["message"]
    person.stop(person.name, "one")
    assert person.start(person.name, {"cpu_limit": 0.5}, server="two").status_code == 201


def test_twenty_starts_of_one_person_at_once_keep_to_the_quota(admin, wait_for):
    name = "in-a-hurry"
    client = admin.make_person(name)
    servers = [f"s{number}" for number in range(20)]
    try:
        with ThreadPoolExecutor(20) as pool:
            codes = list(
                pool.map(
                    lambda server: client.start(name, {"cpu_limit": 1}, server=server).status_code,
                    servers,
                )
            )
        # 202: granted, and not ready within the seconds in which it is waited for.
        assert set(codes) <= {201, 202, 400}
        assert codes.count(400) == 17

        def list_states(state: str) -> list[dict]:
            servers = admin.get(f"users/{name}").json()["servers"].values()
            return [each for each in servers if each[state]]

        wait_for(lambda: not list_states("pending"), "all starts have ended")
        assert len(list_states("ready")) == 3
    finally:
        for server in servers:
            admin.stop(name, server)


def test_a_start_that_fails_takes_nothing_from_the_quota(admin, person):
    for _ in range(4):
        assert person.start(person.name, {"image": "broken", "cpu_limit": 2}).status_code == 503
    assert person.start(person.name, {"cpu_limit": 2}, server="one").status_code == 201
    assert person.start(person.name, {"cpu_limit": 2}, server="two").status_code == 201


def test_an_administrator_hands_out_what_its_owner_could_not_choose_and_the_owner_starts_it_again(
    hub, admin, person
):
    boss = admin.make_person("boss")
    assert boss.start(person.name, {"image": "large", "cpu_limit": 8}).status_code == 201
    assert look_inside(hub, admin, person.name)["CPU_LIMIT"] == "8.0"
    assert person.stop(person.name).status_code == 204
    assert person.start(person.name).status_code == 201
    assert look_inside(hub, admin, person.name)["CPU_LIMIT"] == "8.0"
    person.stop(person.name)
    assert person.start(person.name, {"image": "large", "cpu_limit": 7}).status_code == 400
    assert person.start(person.name, {"cpu_limit": 2}).status_code == 201
    person.stop(person.name)
    assert person.start(person.name, {"image": "large", "cpu_limit": 8}).status_code == 400


def test_what_runs_is_written_down_for_a_hub_that_starts_again(workspace_hub):
    """That such a hub counts it is seen where workspaces outlive the hub:
    tests/docker/test_hub_process.py.
    """
    server = workspace_hub(policy=POLICY)
    admin = server.service()
    client = admin.make_person("anna")
    assert client.start("anna", {"cpu_limit": 2}).status_code == 201
    reservation = json.loads(server.query("select state from spawners")[0][0])["holding"]
    assert (reservation["user"], reservation["cpu_limit"], reservation["mem_limit"]) == (
        "anna",
        2,
        2**30,
    )
    client.stop("anna")
    assert "holding" not in json.loads(server.query("select state from spawners")[0][0])


HAND_OUT = read_example("policy-hand-out")


def test_what_was_handed_out_gives_its_owner_no_right_to_more(workspace_hub):
    server = workspace_hub("c.Authenticator.admin_users = {'boss'}", policy=HAND_OUT)
    admin = server.service()
    boss, owner = admin.make_person("boss"), admin.make_person("max")
    path, handed = (
        "users/max/server/workspace",
        {"image": "large", "cpu_limit": 4, "days_to_live": 90},
    )
    assert boss.start("max", handed).status_code == 201
    model = owner.get(path).json()
    assert (model["may_extend"], model["most_days"]) == (False, 30)
    for days in (365, 91, 30, 0):
        refused = owner.patch(path, json={"days_to_live": days})
        assert refused.status_code == 400, refused.text
        assert "days_to_live" in refused.json()["fields"]
    assert owner.get(path).json()["expires_at"] == model["expires_at"]
    assert owner.get("users/max/options-schema").json()["properties"] == {}
    stored = "select state from spawners where state is not null"
    state = json.loads(server.query(stored)[0][0])
    assert (state["granted_by"], state["granted_options"]["cpu_limit"]) == ("boss", 4)
    as_admin = boss.get(path).json()
    assert (as_admin["may_extend"], as_admin["most_days"]) == (True, 365)
    assert "days_to_live" in boss.get("users/max/options-schema").json()["properties"]
    extended = boss.patch(path, json={"days_to_live": 365})
    assert extended.status_code == 200, extended.text
    assert extended.json()["remaining_seconds"] > 364 * 86_400
    # What was handed out may be started again as it is, and expires as the administrator said.
    assert owner.stop("max").status_code == 204
    assert owner.start("max", handed).status_code == 201
    assert owner.get(path).json()["expires_at"] == extended.json()["expires_at"]
    assert json.loads(server.query(stored)[0][0])["granted_by"] == "boss"


def test_an_owner_puts_what_was_handed_out_off_within_their_own_rule(admin, person):
    boss, path = admin.make_person("boss"), f"users/{person.name}/server/workspace"
    assert (
        boss.start(person.name, {"image": "large", "cpu_limit": 8, "days_to_live": 20}).status_code
        == 201
    )
    model = person.get(path).json()
    assert (model["may_extend"], model["most_days"]) == (True, 5)
    for days in (365, 20, 6):
        assert person.patch(path, json={"days_to_live": days}).status_code == 400
    schema = person.get(f"users/{person.name}/options-schema").json()["properties"]
    assert any(kind.get("maximum") == 2 for kind in schema["cpu_limit"]["anyOf"])
    assert "is_custom_image" not in schema
    assert person.patch(path, json={"days_to_live": 5}).status_code == 200
    assert boss.patch(path, json={"days_to_live": 20}).status_code == 200


def test_the_schema_shows_what_may_be_asked(admin, person):
    schema = person.get(f"users/{person.name}/options-schema")
    assert schema.status_code == 200
    properties = schema.json()["properties"]
    assert properties["image"]["anyOf"][0]["enum"] == [
        "small",
        "fake/small:1",
        "broken",
        "fake/dies",
        "slow",
        "fake/slow",
    ]
    assert any(kind.get("maximum") == 2 for kind in properties["cpu_limit"]["anyOf"])
    boss = admin.make_person("boss")
    assert "is_custom_image" in boss.get(f"users/{person.name}/options-schema").json()["properties"]
    assert "is_custom_image" not in properties


def test_nobody_sees_the_schema_or_the_workspace_of_somebody_else(admin, person):
    other = admin.make_person("somebody-else")
    assert other.get(f"users/{person.name}/options-schema").status_code == 404
    assert other.get(f"users/{person.name}/server/workspace").status_code == 404
    assert (
        other.patch(f"users/{person.name}/server/workspace", json={"days_to_live": 1}).status_code
        == 404
    )
    assert other.post(f"users/{person.name}/server/workspace/update").status_code == 404


def test_explain_is_for_administrators_and_names_the_rule(admin, person):
    assert person.post("policy/explain", json={"user": person.name}).status_code == 403
    granted = admin.post(
        "policy/explain", json={"user": person.name, "options": {"cpu_limit": 2}}
    ).json()
    assert granted["granted"]
    assert granted["decision"]["cpu_limit"]["value"] == "2"
    assert granted["decision"]["cpu_limit"]["rule"] == "everyone.cpu_limit.max"
    assert ":9" in granted["decision"]["cpu_limit"]["place"]
    refused = admin.post(
        "policy/explain", json={"user": person.name, "options": {"cpu_limit": 3, "image": "large"}}
    ).json()
    assert not refused["granted"]
    assert set(refused["fields"]) == {"cpu_limit", "image"}
    as_admin = admin.post(
        "policy/explain", json={"user": person.name, "admin": True, "options": {"cpu_limit": 3}}
    ).json()
    assert as_admin["granted"]


def test_explain_tells_that_the_file_is_broken_whether_it_grants_or_refuses(hub, admin, person):
    try:
        hub.policy("everyone:\n  cpu_limit: {max: lots}\n")
        for cores, is_granted in ((2, True), (3, False)):
            answer = admin.post(
                "policy/explain", json={"user": person.name, "options": {"cpu_limit": cores}}
            ).json()
            assert answer["granted"] is is_granted
            assert "policy.yaml:2" in answer["problem"]
    finally:
        hub.policy(POLICY)
    assert (
        admin.post(
            "policy/explain", json={"user": person.name, "options": {"cpu_limit": 3}}
        ).json()["problem"]
        == ""
    )


@pytest.mark.parametrize(
    "body",
    [
        [],
        "x",
        {"user": 1},
        {"usr": "a"},
        {"user": "a", "options": [], "admin": "yes"},
        {"user": ["a"]},
    ],
)
def test_a_malformed_question_to_explain_is_a_sentence(admin, body):
    assert 400 <= admin.post("policy/explain", json=body).status_code < 500


def test_explain_never_changes_what_is_starting_or_runs(hub, admin, person):
    assert person.start(person.name, {"cpu_limit": 2}).status_code == 201
    for _ in range(5):
        admin.post("policy/explain", json={"user": person.name, "options": {"cpu_limit": 1}})
        person.get(f"users/{person.name}/options-schema")
        person.get(f"users/{person.name}/server/workspace")
    limits = person.get(f"users/{person.name}/server/workspace").json()["limits"]
    assert limits["cpu_limit"] == "2"
    assert person.start(person.name, {"cpu_limit": 2}, server="one").status_code == 201
    assert person.start(person.name, {"cpu_limit": 1}, server="two").status_code == 400


def test_the_owner_sees_what_is_left_and_puts_the_expiry_off_within_the_policy(person):
    assert person.start(person.name, {"days_to_live": 1}).status_code == 201
    path = f"users/{person.name}/server/workspace"
    model = person.get(path).json()
    assert 86_000 < model["remaining_seconds"] <= 86_400
    assert model["may_extend"]
    assert model["most_days"] == 5
    extended = person.patch(path, json={"days_to_live": 5})
    assert extended.status_code == 200
    assert extended.json()["remaining_seconds"] > 4 * 86_400
    refused = person.patch(path, json={"days_to_live": 6})
    assert refused.status_code == 400
    assert "at most 5" in refused.json()["fields"]["days_to_live"]
    for wrong in ("soon", -1, [], {"a": 1}):
        assert person.patch(path, json={"days_to_live": wrong}).status_code == 400
    assert person.get(path).json()["expires_at"] == extended.json()["expires_at"]


def test_a_restart_leaves_the_expiry_where_it_was(person):
    assert person.start(person.name, {"days_to_live": 1}).status_code == 201
    path = f"users/{person.name}/server/workspace"
    before = person.get(path).json()["expires_at"]
    person.stop(person.name)
    assert person.start(person.name).status_code == 201
    assert person.get(path).json()["expires_at"] == before
    put_off = person.patch(path, json={"days_to_live": 4}).json()["expires_at"]
    person.stop(person.name)
    assert person.start(person.name).status_code == 201
    assert person.get(path).json()["expires_at"] == put_off > before


def read_progress(client):
    """Read a start's stream of events to its end."""
    with client.get(
        f"users/{client.name}/server/progress", stream=True, headers={"Accept": "text/event-stream"}
    ) as answer:
        assert answer.status_code == 200, answer.text
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        lines = [line.decode() for line in answer.iter_lines() if line.startswith(b"data:")]
    return [json.loads(line.removeprefix("data:")) for line in lines]


def test_progress_of_a_start_tells_its_steps_and_ends_with_where_it_is_ready(hub, person):
    with ThreadPoolExecutor(1) as pool:
        start = pool.submit(person.start, person.name, {"image": "slow"})
        hub.wait_until(
            lambda: (person.get_server(person.name) or {}).get("pending") == "spawn", "the start"
        )
        events = read_progress(person)
        assert start.result().status_code in (201, 202)
    assert [event["message"] for event in events[1:3]] == [
        "Creating the workspace",
        "Waiting for the workspace to answer",
    ]
    numbers = [event["progress"] for event in events]
    assert numbers == sorted(numbers)
    assert (events[-1]["ready"], numbers[-1]) == (True, 100)
    assert events[-1]["url"].endswith(f"/user/{person.name}/")


def test_progress_of_a_failed_start_ends_with_its_sentence(hub, person):
    answer = person.start(person.name, {"image": "broken"})
    assert answer.status_code == 503
    assert "fake: cannot start" in answer.json()["message"]
    (event,) = read_progress(person)
    assert event["failed"]
    assert "fake: cannot start" in event["message"]


HOOKS = """
def copy_everything(spawner, options):
    for name in ("image", "cpu_limit", "mem_limit"):
        if name in options:
            setattr(spawner, name, options[name])
c.Spawner.apply_user_options = copy_everything
async def ask_for_more(spawner):
    if spawner.user.name.startswith("greedy"):
        spawner.cpu_limit = 64
    if spawner.user.name.startswith("sneaky"):
        spawner.user_options = {"cpu_limit": 64}
    if spawner.user.name.startswith("painter"):
        spawner.image = "evil/image"
    if spawner.user.name.startswith("modest"):
        spawner.cpu_limit = 0.5
c.Spawner.pre_spawn_hook = ask_for_more
"""


def test_hooks_of_the_site_do_not_lift_the_policy(workspace_hub):
    server = workspace_hub(HOOKS, policy=POLICY)
    admin = server.service()
    for name in ("greedy", "sneaky", "painter", "modest", "plain"):
        admin.make_person(name)
    assert "at most 2" in admin.start("greedy").json()["message"]
    assert "at most 2" in admin.start("sneaky").json()["message"]
    assert admin.start("plain", {"image": "evil/image"}).status_code == 400
    assert admin.start("plain", {"cpu_limit": 64}).status_code == 400
    # What the site's hook asks for is asked in the person's place.
    assert "not offered" in admin.start("painter").json()["message"]
    assert admin.start("modest").status_code == 201
    assert look_inside(server, admin, "modest")["CPU_LIMIT"] == "0.5"
    assert admin.start("plain", {"cpu_limit": 2, "image": "small"}).status_code == 201


def test_without_a_file_the_plain_traits_are_default_and_maximum(workspace_hub):
    server = workspace_hub(
        'c.Spawner.image = "fake/one"\nc.Spawner.workspace_images = [c.Spawner.image,'
        ' "fake/two"]\nc.Spawner.cpu_limit = 1\nc.Spawner.mem_limit = "1G"\n'
    )
    admin = server.service()
    client = admin.make_person("anna")
    assert client.start("anna", {"cpu_limit": 2}).status_code == 400
    assert client.start("anna", {"mem_limit": "2G"}).status_code == 400
    assert client.start("anna", {"image": "fake/three"}).status_code == 400
    assert client.start("anna", {"image": "fake/two", "mem_limit": "512M"}).status_code == 201
    inside = look_inside(server, admin, "anna")
    assert (inside["FAKE_IMAGE"], inside["CPU_LIMIT"], inside["MEM_LIMIT"]) == (
        "fake/two",
        "1.0",
        str(512 * 2**20),
    )


def test_a_refusal_is_one_line_of_the_log(hub, admin, person):
    before = len(hub.log)
    assert person.start(person.name, {"cpu_limit": 100}).status_code == 400
    said = hub.log[before:]
    assert "at most 2" in said
    assert "Traceback" not in said
