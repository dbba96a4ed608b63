"""People's SSH keys in a real hub: who may add, see and remove them, and what the sshd of a
workspace is told.
"""

from __future__ import annotations

import html
import json
import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import pytest
import requests

GOOD = "correct horse 42"
# The hook keeps each workspace's own token for the test; "forgot" is a workspace whose hub was
# restarted, which knows the hash alone.
CONFIG = """
import os
from pathlib import Path
c.MLHubNativeAuthenticator.admin_password = "quite a good one"
c.JupyterHub.log_level = "DEBUG"
def keep_token(spawner):
    (Path(os.environ["MLHUB_RUN_DIR"]) / f"token-{spawner.user.name}-{spawner.name}")\
.write_text(spawner.api_token)
    if spawner.name == "forgot":
        spawner.api_token = ""
c.Spawner.pre_spawn_hook = keep_token
"""
POLICY = """
everyone: {}
groups:
  no-ssh: {ssh: false}
"""


@pytest.fixture(scope="module")
def server(module_workspace_hub):
    return prepare(module_workspace_hub(CONFIG, policy=POLICY))


def prepare(hub):
    """Give a hub a data directory with an SSH authority in it, before anything asks for them."""
    settings = json.loads((hub.directory / "settings.json").read_text())
    (hub.directory / "settings.json").write_text(
        json.dumps({**settings, "data_volume_container": str(hub.directory)})
    )
    (hub.directory / "ssh").mkdir(exist_ok=True)
    make_key(hub.directory / "ssh", "ca")
    return hub


def make_key(folder, name, *options):
    """Make a key pair with the real ssh-keygen; return the line of its public half."""
    folder.mkdir(exist_ok=True)
    command = [
        "ssh-keygen",
        "-q",
        "-N",
        "",
        "-C",
        f"{name}@home",
        "-f",
        str(folder / name),
        *(options or ("-t", "ed25519")),
    ]
    subprocess.run(command, check=True, timeout=60)
    return (folder / f"{name}.pub").read_text()


@pytest.fixture
def new_key(tmp_path):
    """Return a function that makes a fresh public key."""
    numbers = iter(range(1000))
    return lambda *options: make_key(tmp_path / "keys", f"id{next(numbers)}", *options)


def path(user, key_id=None):
    return f"users/{quote(user, safe='')}/ssh-keys" + (f"/{key_id}" if key_id is not None else "")


def add(service, user, key, name=""):
    return service.post(path(user), json={"name": name, "key": key})


def names(service, user):
    return [key["name"] for key in service.get(path(user)).json()]


def test_people_add_list_and_remove_their_own_keys(server, new_key, tmp_path):
    ann, text = server.service().make_person("ann"), new_key()
    answer = add(ann, "ann", text, "my notebook")
    assert answer.status_code == 201
    key = answer.json()
    assert (key["name"], key["kind"], key["bits"], key["last_used_at"]) == (
        "my notebook",
        "ssh-ed25519",
        256,
        None,
    )
    (tmp_path / "key.pub").write_text(text)
    listed = subprocess.run(
        ["ssh-keygen", "-l", "-f", str(tmp_path / "key.pub")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert listed.stdout.split()[1] == key["fingerprint"]
    assert ann.get(path("ann")).json() == [key]
    assert ann.delete(path("ann", key["id"])).status_code == 204
    assert ann.get(path("ann")).json() == []
    assert ann.delete(path("ann", key["id"])).status_code == 404


@pytest.mark.parametrize(
    "options",
    [("-t", "ecdsa"), ("-t", "ecdsa", "-b", "521"), ("-t", "rsa", "-b", "3072")],
    ids=" ".join,
)
def test_keys_of_other_kinds_are_taken(server, new_key, options):
    person = server.service().make_person("kinds")
    assert add(person, "kinds", new_key(*options)).status_code == 201


def test_nobody_reads_or_changes_the_keys_of_others_but_administrators(server, new_key):
    service = server.service()
    cat, dog = service.make_person("cat"), service.make_person("dog")
    key = add(cat, "cat", new_key(), "cat's").json()
    for answer in (
        dog.get(path("cat")),
        add(dog, "cat", new_key()),
        dog.delete(path("cat", key["id"])),
        dog.delete(path("dog", key["id"])),
    ):
        assert answer.status_code in (403, 404)
    assert dog.get("users/cat/ssh-config").status_code in (403, 404)
    assert names(cat, "cat") == ["cat's"]
    assert add(service, "cat", new_key(), "by the boss").status_code == 201
    assert service.delete(path("cat", key["id"])).status_code == 204
    assert names(service, "cat") == ["by the boss"]
    assert add(service, "nobody-of-that-name", new_key()).status_code == 404
    assert requests.get(f"{server.url}/hub/api/{path('cat')}", timeout=30).status_code == 403


def test_a_token_that_only_manages_users_or_servers_can_not_add_a_way_in(server, new_key):
    service = server.service()
    ann = service.make_person("narrow")
    for scopes in (
        ["read:users!user=narrow"],
        ["servers!user=narrow"],
        ["read:tokens!user=narrow"],
    ):
        token = ann.post("users/narrow/tokens", json={"scopes": scopes}).json()["token"]
        narrow = type(ann)(server.url, token)
        assert add(narrow, "narrow", new_key()).status_code in (403, 404)
    assert names(ann, "narrow") == []


def test_two_people_can_not_register_one_key_and_are_not_told_whose_it_is(server, new_key):
    service, text = server.service(), new_key()
    first, second = service.make_person("first-owner"), service.make_person("second")
    assert add(first, "first-owner", text).status_code == 201
    refused, again = (
        add(second, "second", text.replace("@home", "@elsewhere")),
        add(first, "first-owner", text),
    )
    assert (refused.status_code, again.status_code) == (409, 409)
    assert "first-owner" not in refused.text
    assert "already" in again.json()["message"]


def test_of_many_requests_for_one_key_at_the_same_moment_one_succeeds(server, new_key):
    service, text = server.service(), new_key()
    people = [(service.make_person(f"racer-{number}"), f"racer-{number}") for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        codes = sorted(pool.map(lambda each: add(*each, text).status_code, people))
    assert codes == [201] + [409] * 7


def test_the_keys_of_a_deleted_person_let_nobody_in_and_are_free_again(server, new_key):
    service, text = server.service(), new_key()
    add(service.make_person("leaver"), "leaver", text)
    assert service.delete("users/leaver").status_code == 204
    assert names(service.make_person("leaver"), "leaver") == []
    assert add(service.make_person("heir"), "heir", text).status_code == 201
    assert server.query(
        "select count(*) from mlhub_ssh_keys where user_id not in (select id from users)"
    ) == [(0,)]


# --- input that is not a key ----------------------------------------------------------------


def test_what_is_not_one_plain_public_key_is_refused_and_is_nowhere_repeated(
    server, new_key, tmp_path
):
    service = server.service()
    mallory, text = service.make_person("mallory"), new_key()
    private = (tmp_path / "keys" / "id0").read_text()
    secret = private.splitlines()[2]
    refused = [
        f'command="id" {text}',
        f"{text}{new_key()}",
        f"{text.strip()}\r\ncommand=x {text}",
        private,
        private.replace("\n", " "),
        "ssh-rsa AAAA",
        "",
    ]
    for each in refused:
        answer = add(mallory, "mallory", each)
        assert answer.status_code == 400
        assert answer.json()["message"].endswith((".", "25519", "pub", "allowed"))
        assert secret not in answer.text
    assert add(mallory, "mallory", new_key("-t", "rsa", "-b", "2048")).status_code == 400
    raw = {"Content-Type": "application/json"}
    bodies = [
        f'{{"key": "{private}',
        "[]",
        "null",
        '{"key": 1}',
        '{"key": "x", "options": "y"}',
        "[" * 60_000,
        "\xff",
        "",
        '{"name": "x"}',
    ]
    for body in bodies:
        assert (
            mallory.post(path("mallory"), data=body.encode("latin-1"), headers=raw).status_code
            == 400
        )
    assert names(mallory, "mallory") == []
    assert secret not in server.log
    assert add(mallory, "mallory", text).status_code == 201


def test_bodies_of_megabytes_are_refused(server):
    service = server.service()
    mallory = service.make_person("mallory-2")
    assert add(mallory, "mallory-2", "ssh-ed25519 " + "A" * 10_000_000).status_code == 413
    assert mallory.get(path("mallory-2")).json() == []


def test_a_key_name_of_several_lines_or_endless_length_is_refused(server, new_key):
    service = server.service()
    mallory = service.make_person("mallory-3")
    for name in ("a\r\nb", "x" * 101, "\x1b]0;x\x07", "\u202etxt"):
        assert add(mallory, "mallory-3", new_key(), name).status_code == 400
    assert add(mallory, "mallory-3", new_key(), "zoë's ☕ notebook").status_code == 201


# --- browsers ------------------------------------------------------------------------------


def test_with_a_cookie_a_change_needs_the_xsrf_token(server, new_key):
    admin = server.admin()
    person, text = server.person("wanda", GOOD, admin), new_key()
    url, body = f"/hub/api/{path('wanda')}", {"key": text}
    for headers in (
        {},
        {"X-XSRFToken": "guess"},
        {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
    ):
        assert person.post(url, json=body, headers=headers).status_code == 403
    form = {"key": text, "name": "x"}
    for fields in (form, {**form, "_xsrf": "guess"}):
        assert person.post("/hub/ssh-keys", data=fields).status_code == 403
    assert server.query("select count(*) from mlhub_ssh_keys where name = 'x'") == [(0,)]
    assert person.api("POST", path("wanda"), json=body).status_code == 201
    key = person.api("GET", path("wanda")).json()[0]
    assert person.post(f"/hub/ssh-keys/{key['id']}/remove").status_code == 403
    assert person.get(f"/hub/ssh-keys/{key['id']}/remove").status_code == 200
    assert person.request("DELETE", f"/hub/api/{path('wanda', key['id'])}").status_code == 403
    assert len(person.api("GET", path("wanda")).json()) == 1
    assert (
        person.submit("/hub/ssh-keys", {}, to=f"/hub/ssh-keys/{key['id']}/remove").status_code
        == 200
    )
    assert person.api("GET", path("wanda")).json() == []


def test_the_page_adds_and_removes_keys_by_forms_alone(server, new_key):
    person, text = server.person("paula", GOOD, server.admin()), new_key()
    page = person.get("/hub/ssh-keys")
    assert "There are none yet" in page.text
    # As browsers send the content of a text area.
    added = person.submit("/hub/ssh-keys", {"key": text.replace("\n", "\r\n"), "name": "laptop"})
    assert added.status_code == 200
    row = re.search(r'<tr data-key-id="(\d+)">(.*?)</tr>', added.text, re.DOTALL)
    assert row
    assert all(shown in row[2] for shown in ("laptop", "ssh-ed25519, 256 bits", "SHA256:", "never"))
    again = person.submit("/hub/ssh-keys", {"key": text, "name": "again"})
    assert (again.status_code, person.message(again)) == (
        409,
        "This key is registered here already. There is nothing to do.",
    )
    assert 'value="again"' in again.text
    removed = person.submit("/hub/ssh-keys", {}, to=f"/hub/ssh-keys/{row[1]}/remove")
    assert "There are none yet" in removed.text
    assert 'href="/hub/ssh-keys"' in person.get("/hub/home").text


def test_nobody_removes_the_key_of_another_by_the_page(server, new_key):
    admin = server.admin()
    victim, thief = server.person("victim", GOOD, admin), server.person("thief", GOOD, admin)
    victim.submit("/hub/ssh-keys", {"key": new_key(), "name": "v"})
    key_id = victim.api("GET", path("victim")).json()[0]["id"]
    assert thief.submit("/hub/ssh-keys", {}, to=f"/hub/ssh-keys/{key_id}/remove").status_code == 404
    assert len(victim.api("GET", path("victim")).json()) == 1


def test_the_page_is_for_those_who_signed_in(server):
    stranger = server.browser()
    assert "/hub/login" in stranger.get("/hub/ssh-keys", allow_redirects=False).headers["Location"]
    service = server.service()
    token = service.make_person("token-only").headers["Authorization"]
    answer = requests.get(
        f"{server.url}/hub/ssh-keys",
        headers={"Authorization": token},
        timeout=30,
        allow_redirects=False,
    )
    assert answer.status_code == 302


def test_markup_in_names_and_comments_is_shown_as_text(server, new_key):
    payload = "<img src=x onerror=alert(1)>\"'><script>alert(2)</script>{{7*7}}"
    person = server.person("xena", GOOD, server.admin())
    page = person.submit("/hub/ssh-keys", {"key": new_key(), "name": payload})
    assert "<img src=x" not in page.text
    assert "<script>alert" not in page.text
    assert (
        html.escape(payload, quote=True).replace("&#x27;", "&#39;").replace("&quot;", "&#34;")
        in page.text
    )
    refused = person.submit("/hub/ssh-keys", {"key": payload, "name": payload})
    assert refused.status_code == 400
    assert "<script>alert" not in refused.text
    by_comment = person.submit(
        "/hub/ssh-keys", {"key": new_key().replace("id1@home", "<script>alert(3)</script>")}
    )
    assert "<script>alert" not in by_comment.text
    assert "&lt;script&gt;alert(3)" in by_comment.text


def test_a_private_key_pasted_on_the_page_is_not_shown_again(server, new_key, tmp_path):
    person = server.person("oops", GOOD, server.admin())
    new_key()
    private = (tmp_path / "keys" / "id0").read_text()
    page = person.submit("/hub/ssh-keys", {"key": private, "name": "x"})
    assert page.status_code == 400
    assert "private key" in person.message(page)
    assert private.splitlines()[2] not in page.text
    assert private.splitlines()[2] not in server.log


# --- what the sshd of a workspace is told ------------------------------------------------------


def own_token(server, user, name=""):
    """Return the token that a workspace has in its environment."""
    return (server.directory / f"token-{user}-{name}").read_text()


def ask(server, token, fingerprint, **options):
    headers = {"Authorization": f"token {token}"} if token else {}
    url = f"{server.url}/hub/api/ssh/authorized-keys"
    return requests.get(
        url, params={"fingerprint": fingerprint}, headers=headers, timeout=30, **options
    )


@pytest.fixture(scope="module")
def inhabited(server, tmp_path_factory):
    """A hub in which `owner` runs two workspaces and `guest` one; both have a key."""
    service, keys = server.service(), tmp_path_factory.mktemp("keys")
    people = {name: service.make_person(name) for name in ("owner", "guest")}
    fingerprints = {
        name: add(people[name], name, make_key(keys, name)).json()["fingerprint"] for name in people
    }
    for name, workspace in (("owner", ""), ("owner", "forgot"), ("guest", "")):
        assert service.start(name, server=workspace).status_code in (201, 202)
        server.wait_until(
            lambda who=(name, workspace): (service.get_server(*who) or {}).get("ready"),
            f"{name}/{workspace} to run",
        )
    return people, fingerprints, keys


@pytest.mark.parametrize("workspace", ["", "forgot"])
def test_a_workspace_lets_in_its_owner_and_nobody_else(server, inhabited, workspace):
    _, fingerprints, keys = inhabited
    token = own_token(server, "owner", workspace)
    answer = ask(server, token, fingerprints["owner"])
    assert (answer.status_code, answer.text) == (
        200,
        (keys / "owner.pub").read_text().removesuffix(" owner@home\n") + "\n",
    )
    assert answer.headers["Content-Type"].startswith("text/plain")
    others = [
        fingerprints["guest"],
        "SHA256:" + "A" * 43,
        "",
        "%",
        "SHA256:*",
        f"{fingerprints['owner']}\n{fingerprints['guest']}",
    ]
    for fingerprint in others:
        refused = ask(server, token, fingerprint)
        assert (refused.status_code, refused.text) == (404, "")


def test_a_workspace_lets_in_whom_its_owner_shares_it_with_as_long_as_it_is_shared(
    server, inhabited
):
    _, fingerprints, _ = inhabited
    token = own_token(server, "owner")
    assert ask(server, token, fingerprints["guest"]).status_code == 404
    admin = server.admin()
    shared = admin.api("POST", "shares/owner/", json={"user": "guest"})
    assert shared.status_code == 200, shared.text
    assert ask(server, token, fingerprints["guest"]).status_code == 200
    assert (
        ask(server, own_token(server, "owner", "forgot"), fingerprints["guest"]).status_code == 404
    )
    assert admin.api("DELETE", "shares/owner/").status_code == 204
    assert ask(server, token, fingerprints["guest"]).status_code == 404


def test_nobody_but_a_running_workspace_is_told_anything(server, inhabited):
    people, fingerprints, _ = inhabited
    service = server.service()
    tokens = [
        people["owner"].headers["Authorization"].removeprefix("token "),
        service.headers["Authorization"].removeprefix("token "),
        "",
        "guess",
    ]
    for token in tokens:
        refused = ask(server, token, fingerprints["owner"])
        assert refused.status_code == 403
        assert "ssh-ed25519" not in refused.text
        headers = {"Authorization": f"token {token}"} if token else {}
        assert (
            requests.get(
                f"{server.url}/hub/api/ssh/bundle", headers=headers, timeout=30
            ).status_code
            == 403
        )
    admin = server.admin()
    assert (
        admin.api(
            "GET", f"ssh/authorized-keys?fingerprint={quote(fingerprints['owner'], safe='')}"
        ).status_code
        == 403
    )
    service.make_person("short")
    service.start("short")
    server.wait_until(
        lambda: (service.get_server("short") or {}).get("ready"), "the workspace to run"
    )
    token = own_token(server, "short")
    assert ask(server, token, fingerprints["owner"]).status_code == 404
    service.stop("short")
    server.wait_until(
        lambda: not (service.get_server("short") or {}).get("ready"), "the workspace to stop"
    )
    server.wait_until(
        lambda: ask(server, token, fingerprints["owner"]).status_code == 403, "the token to end", 15
    )


def test_a_removed_key_and_a_locked_out_owner_are_refused_at_once(server, new_key):
    admin, service = server.admin(), server.service()
    person = server.person("carl", GOOD, admin)
    person.submit("/hub/ssh-keys", {"key": new_key(), "name": "carl's"})
    key = person.api("GET", path("carl")).json()[0]
    service.start("carl")
    server.wait_until(
        lambda: (service.get_server("carl") or {}).get("ready"), "the workspace to run"
    )
    token = own_token(server, "carl")
    assert ask(server, token, key["fingerprint"]).status_code == 200
    admin.manage("authorize", "carl", action="withdraw")
    assert ask(server, token, key["fingerprint"]).status_code in (403, 404)
    server.wait_until(
        lambda: not (service.get_server("carl") or {}).get("ready"), "the workspace to stop"
    )
    admin.manage("authorize", "carl", action="authorize")
    service.start("carl")
    server.wait_until(
        lambda: (service.get_server("carl") or {}).get("ready"), "the workspace to run again"
    )
    token = own_token(server, "carl")
    assert ask(server, token, key["fingerprint"]).status_code == 200
    assert service.delete(path("carl", key["id"])).status_code == 204
    assert ask(server, token, key["fingerprint"]).status_code == 404


def test_a_workspace_that_the_policy_closes_to_ssh_lets_nobody_in(server, new_key):
    service = server.service()
    for name, groups, expected in (("closed", ("no-ssh",), 404), ("open", (), 200)):
        person = service.make_person(name, groups=groups)
        fingerprint = add(person, name, new_key()).json()["fingerprint"]
        service.start(name)
        server.wait_until(
            lambda who=name: (service.get_server(who) or {}).get("ready"), "the workspace to run"
        )
        assert ask(server, own_token(server, name), fingerprint).status_code == expected
    # The policy as it is now, not as it was at the start.
    server.policy(POLICY + "users:\n  open: {ssh: false}\n")
    try:
        assert ask(server, own_token(server, "open"), fingerprint).status_code == 404
    finally:
        server.policy(POLICY)
    assert ask(server, own_token(server, "open"), fingerprint).status_code == 200


def test_what_workspaces_ask_is_no_news_for_the_log_unless_it_is_wrong(server, inhabited):
    _, fingerprints, _ = inhabited
    seen = len(server.log)
    for fingerprint in (fingerprints["owner"], fingerprints["guest"]):
        ask(server, own_token(server, "owner"), fingerprint)
    server.wait_until(
        lambda: server.log[seen:].count("GET /hub/api/ssh/authorized-keys") >= 2,
        "both questions to be logged",
    )
    ask(server, "guess", fingerprints["owner"])
    server.wait_until(
        lambda: server.log[seen:].count("403 GET /hub/api/ssh/authorized-keys") > 0,
        "the refusal to be logged",
    )
    lines = [
        line
        for line in server.log[seen:].splitlines()
        if "GET /hub/api/ssh/authorized-keys" in line
    ]
    assert {line[1] for line in lines if "200 GET" in line} == {"D"}
    assert {line[1] for line in lines if "403 GET" in line} == {"W"}


def test_a_workspace_can_not_add_list_or_remove_keys_with_its_own_token(server, inhabited, new_key):
    people, _, _ = inhabited
    workspace = type(people["owner"])(server.url, own_token(server, "owner"))
    key = people["owner"].get(path("owner")).json()[0]
    assert add(workspace, "owner", new_key()).status_code == 403
    assert workspace.get(path("owner")).status_code == 403
    assert workspace.delete(path("owner", key["id"])).status_code == 403
    assert [each["id"] for each in people["owner"].get(path("owner")).json()] == [key["id"]]


def test_nor_where_the_site_gave_workspaces_all_that_their_owner_may_do(workspace_hub, new_key):
    server = prepare(workspace_hub(CONFIG + 'c.Spawner.server_token_scopes = ["self"]\n'))
    service = server.service()
    ann = service.make_person("ann")
    service.start("ann")
    server.wait_until(
        lambda: (service.get_server("ann") or {}).get("ready"), "the workspace to run"
    )
    workspace = type(ann)(server.url, own_token(server, "ann"))
    assert workspace.get("users/ann/tokens").status_code == 200, (
        "the site's setting has no effect, so this test shows nothing"
    )
    refused = add(workspace, "ann", new_key())
    assert (refused.status_code, "token of a workspace" in refused.text) == (403, True)
    key = add(ann, "ann", new_key()).json()
    assert workspace.delete(path("ann", key["id"])).status_code == 403
    assert len(ann.get(path("ann")).json()) == 1


# --- setting up a client -----------------------------------------------------------------------


def read_area(page, area):
    found = re.search(rf'<textarea id="{area}"[^>]*>(.*?)</textarea>', page.text, re.DOTALL)
    assert found, area
    return html.unescape(found[1])


def ask_ssh(config, host):
    answer = subprocess.run(
        ["ssh", "-G", "-F", str(config), "--", host],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    return dict(line.split(" ", 1) for line in answer.stdout.splitlines() if " " in line)


def test_the_command_on_the_page_sets_up_a_client_for_this_very_hub(server, tmp_path):
    person = server.person("setter", GOOD, server.admin())
    page = person.get("/hub/ssh-keys")
    for _ in range(2):
        command = read_area(page, "setup-unix")
        environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
        done = subprocess.run(
            ["sh"],
            input=command,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
        assert "ssh setter.mlhub" in done.stdout
    assert (tmp_path / ".ssh" / "config").read_text() == "Include config.d/mlhub-mlhub\n"
    bastion = ask_ssh(tmp_path / ".ssh" / "config.d" / "mlhub-mlhub", "mlhub-bastion")
    assert (bastion["hostname"], bastion["port"]) == ("127.0.0.1", str(server.port))
    assert (server.directory / "ssh" / "ca.pub").read_text().split()[1] in (
        tmp_path / ".ssh" / "mlhub-mlhub.known_hosts"
    ).read_text()
    assert "ssh setter.mlhub" in page.text
    removal = read_area(page, "remove-unix")
    subprocess.run(
        ["sh"],
        input=removal,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert [
        each.name for each in (tmp_path / ".ssh").rglob("*") if each.is_file() and each.read_text()
    ] == []
    windows = read_area(page, "setup-windows")
    assert "ssh.exe mlhub-bastion connect %h mlhub" in windows


def test_the_configuration_is_text_that_ssh_reads(server, tmp_path):
    service = server.service()
    person = service.make_person("configurer")
    answer = person.get("users/configurer/ssh-config")
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    (tmp_path / "config").write_text(answer.text)
    assert (
        ask_ssh(tmp_path / "config", "lab.configurer.mlhub")["proxycommand"]
        == "ssh mlhub-bastion connect %h mlhub"
    )
    for host, bastion in (
        (f"127.0.0.1:{server.port}", ("127.0.0.1", str(server.port))),
        ("mlhub:8081", ("localhost", "8080")),
        ("[2001:db8::7]:9", ("2001:db8::7", "9")),
    ):
        (tmp_path / "config").write_text(
            person.get("users/configurer/ssh-config", headers={"Host": host}).text
        )
        found = ask_ssh(tmp_path / "config", "mlhub-bastion")
        assert (found["hostname"], found["port"]) == bastion
    elsewhere = person.get(
        "users/configurer/ssh-config",
        params={"host": "hub.example.org", "port": "2200", "system": "windows"},
    )
    (tmp_path / "config").write_text(elsewhere.text)
    bastion = ask_ssh(tmp_path / "config", "mlhub-bastion")
    assert (bastion["hostname"], bastion["port"]) == ("hub.example.org", "2200")
    assert ask_ssh(tmp_path / "config", "lab.configurer.mlhub")["proxycommand"].startswith(
        "ssh.exe "
    )


@pytest.mark.parametrize(
    "bad",
    ["$(touch x)", "a;b", "a'b", "a b", "a\nHost *", "-oProxyCommand=x", "*", "a`b`", "x" * 300],
)
def test_no_address_that_a_request_names_gets_anything_else_into_the_text(server, bad):
    person = server.service().make_person("injector")
    for named in (
        {"host": bad},
        {"port": bad},
        {"system": bad},
        {"port": "0"},
        {"port": "65536"},
        {"port": "٣"},
    ):
        refused = person.get("users/injector/ssh-config", params=named)
        assert refused.status_code == 400, named
    if "\n" not in bad:
        for host in (bad, f"{bad}:8080", f"hub:{bad}"):
            answer = person.get("users/injector/ssh-config", headers={"Host": host})
            assert answer.status_code in (200, 400)
            named = re.search(r"^  HostName (.*)$", answer.text, re.MULTILINE)
            assert answer.status_code == 400 or (named and re.fullmatch("localhost|hub", named[1]))


def test_without_an_authority_the_page_says_so_and_keys_can_still_be_added(workspace_hub, new_key):
    server = workspace_hub(CONFIG)
    prepare(server)
    (server.directory / "ssh" / "ca.pub").unlink()
    person = server.person("early", GOOD, server.admin())
    page = person.submit("/hub/ssh-keys", {"key": new_key(), "name": "kept"})
    assert "SSH is not ready on this hub" in page.text
    assert "setup-unix" not in page.text
    assert "kept" in page.text
    assert person.api("GET", "users/early/ssh-config").status_code == 503
    server.stop()
    server.start()
    assert "kept" in person.get("/hub/ssh-keys").text
