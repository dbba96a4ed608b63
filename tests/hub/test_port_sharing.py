"""One port of a workspace is open to those with whom its owner shares it, and nothing else is."""

from __future__ import annotations

import base64
import json
import os
import re
import socket
import sqlite3

import pytest
import requests

from mlhub.admin.record import FILE
from mlhub.ssh.public_keys import make_fingerprint
from mlhub.tools.check import FRONT_HEADER
from tests.support.hub_process import Browser, Service, WorkspaceHub
from tests.support.websockets import is_open, open_websocket

CONFIG = """
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.Authenticator.admin_users = {"abe"}
c.JupyterHub.proxy_class = "mlhub.hub.proxy.TellingProxy"
c.FakeSpawner.ssh_folder = "/where no workspace of this test looks"
"""
POLICY = """
images:
  - name: science
    image: "fake/science:1"
    tools: [{name: Dash, port: 8050, absolute: true}]
  - {name: web, image: "fake/web:1", kind: web}
everyone: {port_sharing: true}
groups:
  closed: {port_sharing: false}
"""
PORT, OTHER = "8501", "9000"
SERVER = "work"


@pytest.fixture(scope="module")
def hub(module_workspace_hub) -> WorkspaceHub:
    """A hub that answers sshd's questions, too."""
    hub = module_workspace_hub(CONFIG, policy=POLICY)
    hub.stop()
    (hub.directory / "bastion").mkdir()
    hub.start()
    return hub


class Person:
    """Somebody with a browser, a token and an SSH key."""

    def __init__(self, hub: WorkspaceHub, name: str, *groups: str) -> None:
        self.hub, self.name = hub, name
        self.browser: Browser = hub.browser()
        self.browser.log_in(name, "any")
        self.token: Service = hub.service().make_person(name, groups=groups)

    def start(self, server: str = SERVER, image: str = "") -> Person:
        """Start a workspace of theirs."""
        options = {"image": image} if image else {}
        assert self.token.start(self.name, options, server).status_code in (201, 202)
        self.hub.wait_until(
            lambda: (self.token.get_server(self.name, server) or {}).get("ready"), "the workspace"
        )
        return self

    def share(self, **fields: str) -> requests.Response:
        """Send the form that opens a port of one's own workspace."""
        page = f"/hub/share/{self.name}/{SERVER}"
        to = f"/hub/share-port/{self.name}/{SERVER}"
        return self.browser.submit(page, {"port": PORT, "days": "1", **fields}, to=to)

    def take_back(self, whom: str) -> requests.Response:
        """Press the button behind what is shared with somebody."""
        page = f"/hub/share/{self.name}/{SERVER}"
        rows = re.findall(r'<tr class="given-share">.*?</tr>', self.browser.get(page).text, re.S)
        (row,) = [row for row in rows if re.search(rf"\b{whom}, port", row)]
        (number,) = re.findall(r'value="port"><input type="hidden" name="number" value="(\d+)', row)
        to = f"/hub/unshare/{self.name}/{SERVER}"
        return self.browser.submit(page, {"kind": "port", "number": number}, to=to)

    def enter(self, path: str) -> int:
        """Open an address as the front sends a browser to the hub; return what it answers."""
        query = {"next": path}
        return self.browser.get("/hub/tools", params=query, allow_redirects=False).status_code

    def reaches(self, owner: Person, port: str | None = PORT, *, by: str = "cookie") -> bool:
        """Ask as the front does for each request and each WebSocket."""
        headers = {"Authorization": self.token.headers["Authorization"]}
        if by == "cookie":
            mine = [each for each in self.browser.cookies if each.name == "mlhub-tools"]
            headers = {"Cookie": "; ".join(f"mlhub-tools={each.value}" for each in mine)}
        return ask(self.hub, owner.name, port, headers)[0] == 204

    def opens_jupyter(self, owner: Person) -> bool:
        """Return True if the hub gives this browser a sign-in at the workspace itself."""
        (client,) = self.hub.query(
            "select oauth_client_id from spawners join users on users.id = user_id"
            " where users.name = ? and spawners.name = ?",
            *(owner.name, SERVER),
        )[0]
        callback = f"/user/{owner.name}/{SERVER}/oauth_callback"
        query = {"client_id": client, "redirect_uri": callback, "response_type": "code"}
        page = "/hub/api/oauth2/authorize"
        return self.browser.get(page, params=query, allow_redirects=False).status_code != 403

    def opens_by_ssh(self, owner: Person) -> bool:
        """Return True if sshd is told to lead a key of theirs to the workspace."""
        body = os.urandom(32)
        blob = b"".join(len(part).to_bytes(4, "big") + part for part in (b"ssh-ed25519", body))
        key = {"name": os.urandom(4).hex(), "key": f"ssh-ed25519 {base64.b64encode(blob).decode()}"}
        answer = self.token.post(f"users/{self.name}/ssh-keys", json=key)
        assert answer.status_code == 201, answer.text
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.hub.directory / "bastion" / "lookup.sock"))
            name = f"{SERVER}.{owner.name}.mlhub"
            connection.sendall(
                f"connect {make_fingerprint(blob)} 127.0.0.1 40000 {name} mlhub\n".encode()
            )
            return connection.recv(65536).startswith(b"open ")

    def reads_by_rest(self, owner: Person) -> bool:
        """Return True if the hub tells their token of the workspace."""
        path = f"users/{owner.name}/servers/{SERVER}"
        codes = {
            self.token.get(f"{path}/workspace").status_code,
            self.token.get(f"{path}/port-shares").status_code,
        }
        assert len(codes) == 1
        return codes == {200}


def ask(
    hub: WorkspaceHub, user: str, port: str | None, headers: dict[str, str]
) -> tuple[int, list[str]]:
    """Ask as the front does; return the status, and the words of the answer."""
    where = {"user": user, "server": SERVER, **({} if port is None else {"port": port})}
    url = f"{hub.url}/hub/api/mlhub/tools"
    headers = {**headers, FRONT_HEADER: hub.proxy_token}
    answer = requests.get(url, params=where, headers=headers, timeout=30)
    return answer.status_code, answer.headers.get("X-MLHub-Word", "").split()


def end_all(hub: WorkspaceHub, person: str) -> None:
    """Let what is shared with a person have ended a while ago."""
    with sqlite3.connect(hub.directory / "jupyterhub.sqlite", timeout=20) as database:
        database.execute(
            "update mlhub_port_shares set expires_at = '2020-01-01 00:00:00.000000'"
            " where user_id = (select id from users where name = ?)",
            (person,),
        )
    database.close()


def test_exactly_those_with_whom_a_port_is_shared_reach_it_and_nothing_else_of_the_workspace(hub):
    ann = Person(hub, "ann", "lab").start()
    people = {name: Person(hub, name) for name in ("bob", "out", "gone", "back")}
    people |= {"meg": Person(hub, "meg", "lab"), "abe": Person(hub, "abe"), "ann": ann}
    path = f"/user/ann/{SERVER}/tools/{PORT}/"
    assert "bob reaches port 8501 now." in ann.share(person=" Bob ").text
    assert "lab reaches port 8501 now." in ann.share(group="lab").text
    for name in ("gone", "back"):
        ann.share(person=name)
        assert people[name].enter(path) == 302
        assert people[name].reaches(ann)
    assert "back is out within seconds." in ann.take_back("back").text
    end_all(hub, "gone")
    entering = {name: person.enter(path) for name, person in people.items()}
    assert entering == {
        **dict.fromkeys(("ann", "bob", "meg", "abe"), 302),
        **dict.fromkeys(("out", "gone", "back"), 403),
    }
    everybody = set(people)
    for by in ("cookie", "token"):

        def list_who(port: str | None, by: str = by) -> set[str]:
            return {name for name in everybody if people[name].reaches(ann, port, by=by)}

        assert list_who(PORT) == {"ann", "bob", "meg", "abe"}, by
        assert list_who(OTHER) == {"ann", "abe"}, by
        assert list_who(None) == set(), by
    opens = {
        "jupyter": {name for name in everybody if people[name].opens_jupyter(ann)},
        "ssh": {name for name in everybody if people[name].opens_by_ssh(ann)},
        "rest": {name for name in everybody if people[name].reads_by_rest(ann)},
    }
    assert opens == {place: {"ann", "abe"} for place in ("jupyter", "ssh", "rest")}


def test_the_answer_holds_no_longer_than_the_share_and_names_the_guest(hub):
    cal, dan = Person(hub, "cal").start(), Person(hub, "dan")
    cal.share(person="dan", days="0.002")
    assert dan.enter(f"/user/cal/{SERVER}/tools/{PORT}/") == 302
    (cookie,) = [each for each in dan.browser.cookies if each.name == "mlhub-tools"]
    shown = {"Cookie": f"mlhub-tools={cookie.value}"}, dict(dan.token.headers)
    for headers, kind in zip(shown, ("cookie", "token"), strict=True):
        _, (said, name, seconds, way) = ask(hub, "cal", PORT, headers)
        assert (said, name, way) == (kind, "dan", "direct")
        assert 0 < int(seconds) <= 173
    # What ends by itself ends for whoever it was, and is gone.
    end_all(hub, "dan")
    for by in ("cookie", "token"):
        assert not dan.reaches(cal, by=by)
    is_gone = "select 1 from mlhub_port_shares where expires_at < '2021'"
    hub.wait_until(lambda: not hub.query(is_gone), "the row is gone", 10)


def test_a_token_that_is_less_than_its_owner_opens_no_shared_port(hub):
    eli, fay = Person(hub, "eli").start(), Person(hub, "fay").start()
    eli.share(person="fay")

    def status(token: str) -> int:
        return ask(hub, "eli", PORT, {"Authorization": f"token {token}"})[0]

    def make(**body: object) -> str:
        return str(hub.service().post("users/fay/tokens", json=body).json()["token"])

    assert status(make(scopes=["read:users!user=fay"])) == 403
    assert status(make(scopes=["access:servers!user=fay"])) == 403
    # As the token that her own workspace has.
    assert status(make(scopes=["access:servers!server=fay/work", "users:activity!user=fay"])) == 403
    made = make(expires_in=3000)
    assert status(made) == 204
    assert status(make()) == 204
    assert fay.reaches(eli, by="token")


@pytest.mark.parametrize(
    "way", ["taken back", "the group", "the membership", "the person", "the end", "policy"]
)
def test_what_a_guest_has_open_ends_within_five_seconds_with_what_let_them_in(hub, way):
    mark = way.split()[-1]
    owner = Person(hub, f"owner-{mark}", f"team-{mark}").start()
    guest, other = Person(hub, f"guest-{mark}", f"team-{mark}"), Person(hub, f"other-{mark}")
    other.start()
    by_group = mark in ("group", "membership")
    to = {"group": f"team-{mark}"} if by_group else {"person": guest.name}
    assert owner.share(**to).status_code == 200
    assert guest.enter(f"/user/{owner.name}/{SERVER}/tools/{PORT}/") == 302
    assert guest.reaches(owner)
    opened, twin = (open_websocket(hub.url, f"/user/{who.name}/work/") for who in (owner, other))
    # The hub looks four times a second who has been let in, and nothing is cut for it.
    with pytest.raises(AssertionError, match=r"waited 1\.5 s"):
        hub.wait_until(lambda: not is_open(opened), "nothing", 1.5)
    try:
        if way == "taken back":
            owner.take_back(guest.name)
        elif way == "the group":
            assert hub.service().delete(f"groups/team-{mark}").status_code == 204
        elif way == "the membership":
            left = {"users": [guest.name]}
            assert hub.service().delete(f"groups/team-{mark}/users", json=left).status_code == 200
        elif way == "the person":
            assert hub.service().delete(f"users/{guest.name}").status_code == 204
        elif way == "the end":
            end_all(hub, guest.name)
        else:
            hub.policy(f"{POLICY}users:\n  {owner.name}: {{port_sharing: false}}\n")
        hub.wait_until(lambda: not is_open(opened), "the end of the WebSocket", 5)
        for by in ("cookie", "token"):
            assert not guest.reaches(owner, by=by)
        assert is_open(twin)
        assert owner.reaches(owner, by="token")
    finally:
        hub.policy(POLICY)


def test_an_account_a_workspace_and_a_group_that_are_made_again_have_nothing_of_before(hub):
    gil = Person(hub, "gil", "crew").start()
    hal, service = Person(hub, "hal"), hub.service()
    Person(hub, "ivy", "crew")

    def count() -> int:
        return len(hub.query("select 1 from mlhub_port_shares where port = 7001"))

    for to, thing in (({"person": "hal"}, "users/hal"), ({"group": "crew"}, "groups/crew")):
        gil.share(port="7001", **to)
        assert count() == 1
        assert service.delete(thing).status_code == 204
        assert count() == 0, thing
    hal, ivy = Person(hub, "hal"), Person(hub, "ivy", "crew")
    assert not hal.reaches(gil, "7001", by="token")
    assert not ivy.reaches(gil, "7001", by="token")
    gil.share(port="7001", person="hal")
    assert hal.reaches(gil, "7001", by="token")
    removed = service.delete(f"users/gil/servers/{SERVER}", json={"remove": True})
    assert removed.status_code in (202, 204)
    hub.wait_until(lambda: count() == 0, "it goes with the workspace", 10)
    gil.start()
    assert not hal.reaches(gil, "7001", by="token")


def test_a_port_is_named_in_one_way_and_no_other_spelling_leads_to_one(hub):
    jan, kai = Person(hub, "jan").start(), Person(hub, "kai").start()
    jan.share(person="kai", port="8080")
    base = f"/user/jan/{SERVER}/tools"
    for path in ("8080", "8080/", "8080?x=1", "8080/app/x?y=1", "absolute/8080/", "absolute/8080"):
        assert kai.enter(f"{base}/{path}") == 302, path
    assert kai.reaches(jan, "8080")
    away = (
        *("08080/", "+8080/", "-8080/", "8080.0/", "0x1f90/", "%38080/", "8080%2f/", "8080%00/"),
        *(f"{65536 + 8080}/", f"{2**32 + 8080}/", "٨٠٨٠/", "8080;/", "8080x/", "8080%20/"),
        *("../8080/", "8081/", "9000/../8080/", "9000/%2e%2e/8080/", "9000%2f..%2f8080/"),
        *("absolute/9000/", "absolute/../8080/", "absolute/absolute/8080/", "Absolute/8080/"),
        *("", "/8080/", "absolute/", "8080-1/", "80/80/"),
    )
    assert {path: kai.enter(f"{base}/{path}") for path in away} == dict.fromkeys(away, 403)
    assert kai.enter(f"{base}/8080\\/") == 404
    for place in (f"/user/jan/{SERVER}/", f"/user/jan/{SERVER}/lab", "/user/jan/tools/8080/"):
        assert kai.enter(place) in (403, 404), place
    # What the front would ask, were it deceived.
    headers = {"Authorization": kai.token.headers["Authorization"]}
    for port in ("-8080", "73616", "8080.5", "8080/../9000", "8080%2f", "9000", "0", "", "8081"):
        assert ask(hub, "jan", port, headers)[0] in (400, 403), port
    assert ask(hub, "jan", "8080", headers)[0] == 204


def test_the_workspaces_own_server_and_what_the_hub_brings_are_no_ports_to_share(hub):
    lea, max_ = Person(hub, "lea").start(image="web"), Person(hub, "max")
    own = lea.token.get(f"users/lea/servers/{SERVER}/workspace/use").json()["ports"]
    number = str(next(each["port"] for each in own if each["name"] == "Jupyter"))
    for port in (number, "2222", "2223"):
        answer = lea.share(person="max", port=port)
        assert answer.status_code == 400
        assert "Share the workspace instead." in answer.text
    # Whatever the table says: a workspace may listen elsewhere than it did.
    assert lea.share(person="max").status_code == 200
    assert max_.reaches(lea, by="token")
    with sqlite3.connect(hub.directory / "jupyterhub.sqlite", timeout=20) as database:
        row = "update mlhub_port_shares set port = ? where port = 8501 and made_by = 'lea'"
        database.execute(row, (int(number),))
    database.close()
    assert not max_.reaches(lea, number, by="token")
    assert not max_.reaches(lea, None, by="token")
    assert max_.enter(f"/user/lea/{SERVER}/tools/{number}/") == 403
    assert max_.enter(f"/user/lea/{SERVER}/") == 403


def test_nobody_shares_a_port_of_anothers_workspace_and_the_policy_may_forbid_ones_own(hub):
    ned, oda = Person(hub, "ned").start(), Person(hub, "oda")
    rest = f"users/ned/servers/{SERVER}/port-shares"
    body = {"port": 8501, "user": "oda", "days": 1}
    page = f"/hub/share-port/ned/{SERVER}"
    data = {"_xsrf": oda.browser.xsrf("/hub/home"), "port": PORT, "person": "oda", "days": "1"}
    assert oda.browser.post(page, data=data).status_code == 404
    assert oda.token.post(rest, json=body).status_code == 404
    small = {"scopes": ["read:servers!user=ned", "access:servers!user=ned"]}
    token = hub.service().post("users/ned/tokens", json=small).json()["token"]
    assert Service(hub.url, token).post(rest, json=body).status_code == 403
    assert not oda.reaches(ned, by="token")
    assert ned.token.post(rest, json=body).status_code == 201
    assert oda.reaches(ned, by="token")
    # The policy holds at once, for what is shared already too.
    hub.service().post("groups/closed")
    hub.service().post("groups/closed/users", json={"users": ["ned"]})
    assert not oda.reaches(ned, by="token")
    for answer in (
        ned.token.post(rest, json=body),
        ned.browser.post(page, data={**data, "_xsrf": ned.browser.xsrf("/hub/home")}),
    ):
        assert answer.status_code == 400
        assert "does not let ports of this workspace be shared" in answer.text.replace("&#39;", "'")
    assert 'id="share-port"' not in ned.browser.get(f"/hub/share/ned/{SERVER}").text
    assert "Take back" in ned.browser.get(f"/hub/share/ned/{SERVER}").text
    assert oda.token.get("users/oda/port-shares").json() == []


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"port": ""}, "'' is not a number"),
        ({"port": "8080x"}, "'8080x' is not a number"),
        ({"port": "65536"}, "'65536' is not a port. Write a number from 1 to 65535."),
        ({"port": "-1"}, "'-1' is not a number"),
        ({"days": "0"}, "'0' is no number of days"),
        ({"days": "400"}, "'400' is no number of days"),
        ({"person": "nobody"}, "There is nobody here called 'nobody'."),
        ({"person": ""}, "Enter a username."),
        ({"person": "pam"}, "This workspace is theirs already."),
        ({"group": "strangers"}, "You cannot share with the group 'strangers'."),
    ],
)
def test_what_cannot_be_shared_is_refused_with_the_value_and_the_cure(hub, fields, sentence):
    pam = Person(hub, "pam")
    if not pam.token.get_server("pam", SERVER):
        pam.start()
        Person(hub, "quin", "strangers")
    answer = pam.share(**{"person": "quin", **fields})
    assert answer.status_code == 400
    assert sentence in answer.text.replace("&#39;", "'")
    assert "quin reaches port 8501 now." in pam.share(person="quin").text


def test_programs_share_see_and_take_back_ports_as_the_pages_do(hub):
    ray, sue = Person(hub, "ray", "band").start(image="science"), Person(hub, "sue")
    path = f"users/ray/servers/{SERVER}/port-shares"
    made = ray.token.post(path, json={"port": 8050, "user": "sue"})
    assert made.status_code == 201
    share = made.json()
    assert {key: share[key] for key in ("port", "user")} == {"port": 8050, "user": "sue"}
    group = ray.token.post(path, json={"port": 8501, "group": "band", "days": 2}).json()
    assert ray.token.get(path).json() == [share, group]
    # Sharing it once more says until when.
    longer = ray.token.post(path, json={"port": 8050, "user": "sue", "days": 30}).json()
    assert longer["id"] == share["id"]
    assert longer["until"] > share["until"]
    url = f"/user/ray/{SERVER}/tools/absolute/8050/"
    (received,) = sue.token.get("users/sue/port-shares").json()
    assert received == {
        **{"owner": "ray", "server": SERVER, "port": 8050, "name": "Dash", "url": url},
        **{"app": "", "app_url": "", "running": True, "until": longer["until"]},
    }
    assert sue.token.get("users/ray/port-shares").status_code == 404
    home = sue.browser.get("/hub/home").text
    assert "Shared with you" in home
    assert f'href="{url}"' in home
    assert sue.enter(url) == 302
    for body in ({"port": 8050}, {"port": 8050, "user": "sue", "group": "band"}, {"user": "sue"}):
        assert ray.token.post(path, json=body).status_code == 400, body
    assert sue.token.delete(f"{path}/{share['id']}").status_code == 404
    assert ray.token.delete(f"{path}/{share['id']}").status_code == 204
    assert ray.token.delete(f"{path}/{share['id']}").status_code == 404
    assert not sue.reaches(ray, "8050")
    assert "Shared with you" not in sue.browser.get("/hub/home").text
    # By the default workspace's own address, another one's are not taken back.
    assert ray.token.delete(f"users/ray/server/port-shares/{group['id']}").status_code == 404
    assert ray.token.get(path).json() == [group]


def test_who_opened_a_port_to_whom_and_who_came_is_in_both_records(hub):
    tea, uli = Person(hub, "tea").start(), Person(hub, "uli")
    tea.share(person="uli")
    uli.enter(f"/user/tea/{SERVER}/tools/{PORT}/")
    tea.take_back("uli")
    own = ("share a port", "enter", "take back a share")

    def read() -> list[dict]:
        lines = [json.loads(line) for line in (hub.directory / FILE).read_text().splitlines()]
        return [line for line in lines if line["event"] in own and line.get("about") == "tea"]

    hub.wait_until(lambda: len(read()) == 3, "the record", 10)
    told = [(each["event"], each["by"], each["port"], each.get("to")) for each in read()]
    assert told == [
        ("share a port", "tea", 8501, "uli"),
        ("enter", "uli", 8501, None),
        ("take back a share", "tea", 8501, "uli"),
    ]
    assert "until" in read()[0]
    for person in (tea, uli):
        page = re.sub(r"<[^>]*>|\s+", " ", person.browser.get("/hub/record").text)
        for event in own:
            assert event.capitalize() in page, person.name
        assert "port 8501 → uli" in " ".join(page.split())
    assert "port 8501" not in Person(hub, "vic").browser.get("/hub/record").text


def test_a_stranger_is_told_whom_to_ask_and_a_guest_sees_no_list_of_ports(hub):
    wim, xia, yan = Person(hub, "wim").start(), Person(hub, "xia"), Person(hub, "yan")
    wim.share(person="xia")
    base = f"/user/wim/{SERVER}/tools/"
    for person, path in ((yan, f"{base}{PORT}/"), (xia, f"{base}{OTHER}/")):
        answer = person.browser.get("/hub/tools", params={"next": path})
        assert answer.status_code == 403
        assert "Ask wim to share it with you" in answer.text
    assert xia.enter(f"{base}{PORT}/") == 302
    assert xia.browser.get("/hub/tools/ports", params={"next": base}).status_code == 403
    assert wim.browser.get("/hub/tools/ports", params={"next": base}).status_code == 200
