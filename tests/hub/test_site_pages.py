"""What administrators see of the site as a whole, and what they tell everybody."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import re
from urllib.parse import unquote

import pytest
import requests

from mlhub import __version__
from mlhub.cli.__main__ import main

GOOD = "correct horse 42"
CONFIG = """
c.MLHubNativeAuthenticator.admin_password = "quite a good one"
c.Authenticator.admin_users = {"admin"}
c.JupyterHub.usage_seconds = 0.5
(Path(c.JupyterHub.cookie_secret_file).parent / "hub").mkdir(exist_ok=True)
"""
POLICY = """
everyone:
  cpu_limit: {default: 1, max: 2}
  mem_limit: {default: 1G, max: 2G}
  total: {servers: 3}
"""


@pytest.fixture(scope="module")
def hub(module_workspace_hub):
    return module_workspace_hub(CONFIG, policy=POLICY)


@pytest.fixture(scope="module")
def admin(hub):
    return hub.admin()


@pytest.fixture(scope="module")
def ann(hub, admin):
    return hub.person("ann", GOOD, admin)


def test_what_the_doctor_finds_is_a_page_and_json_for_administrators_alone(hub, admin, ann):
    page = admin.get("/hub/admin/checklist")
    assert page.status_code == 200
    assert re.search(r'data-level="\w+">\s*<th scope="row">Policy</th>', page.text)
    assert "plain HTTP: passwords and files travel in clear." in page.text or "TLS" not in page.text
    answer = admin.api("GET", "doctor")
    findings = answer.json()
    fails = [each for each in findings if each["level"] == "fails"]
    assert answer.status_code == (503 if fails else 200)
    assert "policy" in {each["subject"] for each in findings}
    assert all(each["text"] for each in findings)
    assert ann.get("/hub/admin/checklist").status_code == 403
    assert ann.api("GET", "doctor").status_code == 403


def test_what_is_announced_is_on_all_pages_as_text_until_it_is_taken_back(hub, admin, ann):
    text = "Friday 18:00 <script>alert(1)</script> & down"
    shown = "Friday 18:00 &lt;script&gt;alert(1)&lt;/script&gt; &amp; down"
    admin.submit("/hub/admin/announcement", {"text": text})
    stranger = hub.browser()
    for browser, path in ((ann, "/hub/home"), (stranger, "/hub/login"), (ann, "/hub/usage")):
        assert shown in browser.get(path).text
    (hub.directory / "announcement.txt").write_text("By hand\n")
    hub.wait_until(lambda: "By hand" in stranger.get("/hub/login").text, "the file is read", 10)
    answer = admin.submit("/hub/admin/announcement", {"text": "x" * 1001})
    assert answer.status_code == 400
    assert "Write at most 1000." in answer.text
    admin.submit("/hub/admin/announcement", {"text": " "})
    assert "announcement-told" not in stranger.get("/hub/login").text
    assert ann.get("/hub/admin/announcement").status_code == 403
    token = ann.xsrf("/hub/home")
    answer = ann.post("/hub/admin/announcement", data={"_xsrf": token, "text": "mine"})
    assert answer.status_code == 403
    assert "mine" not in stranger.get("/hub/login").text


def test_the_version_stands_below_the_pages_of_who_is_signed_in(hub, ann):
    assert f"MLHub {__version__} · JupyterHub" in ann.get("/hub/home").text
    assert f"MLHub {__version__}" not in hub.browser().get("/hub/login").text


def read_rows(answer):
    assert answer.headers["Content-Type"].startswith("text/csv"), answer.text
    return list(csv.DictReader(io.StringIO(answer.text)))


def test_what_runs_is_counted_for_its_owner_and_for_administrators(hub, admin, ann):
    assert "Nothing ran in these 30 days." in ann.get("/hub/usage").text
    assert hub.service().start("ann", {"cpu_limit": 2}).status_code in (201, 202)

    def hours():
        return [float(row["hours"]) for row in read_rows(ann.get("/hub/usage.csv?days=7"))]

    hub.wait_until(lambda: sum(hours()) > 0, "an hour's part is counted", 20)
    assert hub.service().stop("ann").status_code in (202, 204)
    assert len(hours()) == 7
    row = next(row for row in read_rows(ann.get("/hub/usage.csv")) if float(row["hours"]))
    assert row["person"] == "ann"
    assert float(row["cpu_hours"]) == pytest.approx(2 * float(row["hours"]), abs=2e-4)
    assert float(row["memory_gb_hours"]) == pytest.approx(float(row["hours"]), abs=2e-4)
    page = ann.get("/hub/usage").text
    assert '<svg viewBox="0 0 600.0 120.0"' in page
    assert "0 of 3" in page, "what the policy lets her have"
    listed = admin.get("/hub/admin/usage").text
    assert 'href="/hub/usage?person=ann&amp;days=30"' in listed
    assert "Usage of ann" in admin.get("/hub/usage?person=ann").text
    (row,) = read_rows(admin.get("/hub/admin/usage.csv"))
    assert row["person"] == "ann"
    # Programs come with a token.
    (row,) = read_rows(hub.service().get("../admin/usage.csv"))
    assert row["person"] == "ann"
    assert hub.service().get("../usage.csv").status_code == 400
    token = ann.api("POST", "users/ann/tokens", json={"scopes": ["read:users:name!user"]}).json()
    narrow = {"Authorization": f"token {token['token']}"}
    assert requests.get(f"{hub.url}/hub/usage.csv", headers=narrow, timeout=30).status_code == 403


def test_nobody_but_an_administrator_sees_the_usage_of_others(hub, admin, ann):
    hub.person("bob", GOOD, admin)
    for path in ("usage?person=bob", "usage?group=lab", "admin/usage", "usage.csv?person=bob"):
        assert ann.get(f"/hub/{path}").status_code == 403, path
    assert ann.get("/hub/admin/usage.csv").status_code == 403
    assert ann.get("/hub/usage?person=ann").status_code == 200
    assert admin.get("/hub/usage?person=bob").status_code == 200
    assert "/hub/login" in hub.browser().get("/hub/usage").url


def test_a_name_that_a_spreadsheet_takes_for_a_formula_is_text_in_the_file(hub, admin):
    service = hub.service()
    service.make_person("-2+3")
    assert service.start("-2+3", {}).status_code in (201, 202)

    def names():
        return [row["person"] for row in read_rows(admin.get("/hub/admin/usage.csv"))]

    hub.wait_until(lambda: "'-2+3" in names(), "it is counted", 20)
    assert "-2+3" not in names()
    assert service.stop("-2+3").status_code in (202, 204)


def test_what_a_workspace_takes_is_told_to_its_owner_and_to_administrators(hub, admin):
    cora, dirk = (hub.person(name, GOOD, admin) for name in ("cora", "dirk"))
    path = "users/cora/servers/work/workspace/use"
    assert hub.service().start("cora", {"cpu_limit": 2}, "work").status_code in (201, 202)

    def last():
        return cora.api("GET", path).json()["points"][-1][1]

    hub.wait_until(lambda: last() is not None, "two looks tell how much it computes", 20)
    assert last() == pytest.approx(0.5, abs=0.1)
    found = admin.api("GET", path).json()
    assert (found["cpu_limit"], found["memory_limit"]) == (2, 2**30)
    assert found["points"][-1][2] == 256 * 2**20
    assert {"name": "Jupyter", "answers": True}.items() <= found["ports"][0].items()
    assert dirk.api("GET", path).status_code == 404
    assert 'id="use"' in cora.get("/hub/workspace/cora/work").text
    assert hub.service().stop("cora", "work").status_code in (202, 204)
    stopped = cora.api("GET", path).json()
    assert (stopped["points"], stopped["ports"]) == ([], [])
    assert 'id="use"' not in cora.get("/hub/workspace/cora/work").text


@pytest.fixture
def operate(hub, monkeypatch):
    """Return the function that runs ``mlhub users`` beside the hub."""
    monkeypatch.setenv("MLHUB_RUN_DIR", str(hub.directory))

    def run(*arguments, code=0):
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            assert main(["users", *arguments]) == code, said.getvalue()
        return said.getvalue()

    return run


def test_an_operator_looks_after_people_from_the_command_line(hub, admin, operate):
    nina = hub.browser()
    nina.sign_up("nina", GOOD)
    assert re.search(r"nina +no +", operate("list", "--search", "nin"))
    operate("authorize", "nina")
    nina.log_in("nina", GOOD)
    assert nina.is_signed_in()
    assert hub.service().start("nina", {}, "work").status_code in (201, 202)
    (found,) = json.loads(operate("list", "--search", "nina", "--json"))
    assert (found["may_sign_in"], found["running"], found["memory"]) == (True, 1, "1 GB")
    operate("withdraw", "nina")
    assert not nina.is_signed_in()
    operate("authorize", "nina")
    assert "'work'" in operate("delete", "nina", code=1)
    assert hub.query("select name from users where name = 'nina'"), "it was only told"
    assert "is deleted" in operate("delete", "nina", "--yes")
    assert not hub.query("select name from users where name = 'nina'")
    assert not hub.query("select username from users_info where username = 'nina'")
    assert "is nobody here" in operate("delete", "nina", "--yes", code=1)
    record = (hub.directory / "audit" / "hub.jsonl").read_text()
    assert '"mlhub users"' in record
    assert '"delete a person"' in record


def test_invitations_of_the_command_line_are_links_that_work(hub, admin, operate):
    (link,) = json.loads(operate("invite", "olaf", "--group", "lab", "--json"))
    olaf = hub.browser()
    path = "/hub/" + link["url"].split("/hub/")[1]
    password = {"new_password": GOOD, "new_password_confirmation": GOOD}
    code = unquote(path.split("code=")[1])
    olaf.submit(path, {**password, "code": code}, to="/hub/invitation")
    assert olaf.is_signed_in()
    assert hub.query(
        "select groups.name from groups join user_group_map on groups.id = group_id"
        " join users on users.id = user_id where users.name = 'olaf'"
    ) == [("lab",)]
    assert "Nobody is added" in operate("invite", "a/b", code=1)
    assert "has no account here" in operate("unlock", "stranger", code=1)


def test_programs_authorize_and_unlock_people_and_nobody_above_their_rank(hub, admin, ann):
    service, path = hub.service(), "users/pia/authorization"
    pia = hub.browser()
    pia.sign_up("pia", GOOD)
    assert service.put(path, json={"is_authorized": True}).json()["is_authorized"] is True
    pia.log_in("pia", GOOD)
    assert pia.is_signed_in()
    assert service.put(path, json={"is_authorized": "yes"}).status_code == 400
    assert ann.api("PUT", path, json={"is_authorized": False}).status_code in (403, 404)
    assert pia.is_signed_in()
    assert service.put(path, json={"is_authorized": False}).status_code == 200
    assert not pia.is_signed_in()
    locked = service.put("users/admin/authorization", json={"is_authorized": False})
    assert locked.status_code == 403, "a service is no administrator"
    for _ in range(6):
        hub.browser().log_in("pia", "wrong wrong 12")
    assert service.post("users/pia/unlock").status_code == 204
    assert service.post("users/nobody-here/unlock").status_code == 404
