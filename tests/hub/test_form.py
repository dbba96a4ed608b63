"""The form on a real hub: what it shows to whom, what it starts, and what is left of a form that
was refused.
"""

from __future__ import annotations

import html
import re
import time
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser

import pytest
import requests

POLICY = """
images:
  - {name: small, image: "fake/small:1", description: One core is enough}
  - {name: large, image: "fake/large:1"}
  - {name: broken, image: "fake/dies"}
everyone:
  images: [small, broken]
  cpu_limit: {default: 1, max: 2}
  mem_limit: {default: 1G, max: 2G}
  days_to_live: {default: 2, max: 5}
  total: {servers: 2}
groups:
  children:
    options: []
  licensed:
    license: {variable: LICENSE_KEY}
admins:
  images: ["*"]
  custom_images: true
  cpu_limit: {max: 8}
  total: {servers: unlimited}
"""
CONFIG = """
import asyncio
import os
import time

async def stay(spawner):
    while os.path.exists("stay"):
        await asyncio.sleep(0.05)
    if spawner.name == "late":  # a busy hub: the start ends just when nobody waits for it any more
        await asyncio.sleep(0.5)
        time.sleep(1)

async def linger(spawner):
    if spawner.name == "slow":
        await asyncio.sleep(3)
    if spawner.name == "older":  # as a version made it that took every name
        spawner.user._new_orm_spawner("lab", "lab")

c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.Authenticator.admin_users = {"boss"}
c.Spawner.pre_spawn_hook = linger
c.Spawner.post_stop_hook = stay
"""


class Page(HTMLParser):
    """What a page without JavaScript shows of its form: inputs with their labels, errors and
    values.
    """

    def __init__(self, response: requests.Response) -> None:
        super().__init__()
        self.status = response.status_code
        self.text = response.text
        self.inputs: list[dict[str, str]] = []
        self.labels: list[str] = []
        self.ids: list[str] = []
        self._textarea: dict[str, str] | None = None
        self.feed(response.text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attributes}
        if "id" in given:
            self.ids.append(given["id"])
        if tag == "label":
            self.labels.append(given.get("for", ""))
        if tag in ("input", "textarea", "select"):
            self.inputs.append({"type": tag, **given})
        if tag == "textarea":
            self._textarea = self.inputs[-1]
            self._textarea["value"] = ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea":
            self._textarea = None

    def handle_data(self, data: str) -> None:
        if self._textarea is not None:
            self._textarea["value"] += data.removeprefix("\n")

    def input(self, name: str) -> dict[str, str]:
        """Return the last input of a name: the checkbox, not the hidden field before it."""
        return [each for each in self.inputs if each.get("name") == name][-1]

    def fields(self) -> dict[str, list[str]]:
        """Return what a browser would send."""
        sent: dict[str, list[str]] = {}
        for each in self.inputs:
            if "name" in each and (each["type"] not in ("radio", "checkbox") or "checked" in each):
                sent.setdefault(each["name"], []).append(each.get("value", ""))
        return sent

    def error(self, name: str) -> str:
        """Return the error at a field."""
        found = re.search(rf'id="option-{name}-error"[^>]*>(.*?)</div>', self.text, re.DOTALL)
        return html.unescape(found[1]).strip() if found else ""

    @property
    def heading(self) -> str:
        return html.unescape(re.search(r"<h1[^>]*>(.*?)</h1>", self.text, re.DOTALL)[1]).strip()

    @property
    def alert(self) -> str:
        found = re.search(r'role="alert"[^>]*>(.*?)</(?:p|div)>', self.text, re.DOTALL)
        return html.unescape(" ".join(re.sub("<[^>]*>", " ", found[1]).split())) if found else ""


@pytest.fixture(scope="module")
def hub(module_workspace_hub):
    return module_workspace_hub(CONFIG, policy=POLICY)


@pytest.fixture(scope="module")
def service(hub):
    return hub.service()


@pytest.fixture
def person(hub, service, request):
    """Return a person's browser; `name` is theirs."""
    name = re.sub("[^a-z]+", "-", request.node.name.lower())[:40].strip("-")
    browser = sign_in(hub, name)
    yield browser
    for server in ("", "second", "third", "slow", "late", "glance", "older"):
        service.stop(name, server)


@pytest.fixture(scope="module")
def boss(hub):
    return sign_in(hub, "boss")


def sign_in(hub, name):
    browser = hub.browser()
    browser.name = name
    browser.log_in(name, "anything")
    assert browser.get("/hub/home", allow_redirects=False).status_code == 200
    return browser


def open_form(browser, path="/hub/spawn"):
    page = Page(browser.get(path))
    assert page.status == 200, page.text
    return page


def send(browser, page, path="/hub/spawn", **changed):
    """Send the form as it stands, with a few fields changed."""
    answer = browser.post(path, data={**page.fields(), **changed}, allow_redirects=False)
    return answer


def refuse(browser, page, path="/hub/spawn", **changed):
    """Send the form, which is refused; return the page that says so.

    A hub that takes longer than a second leads to the page of a start that cannot be. The form is
    sent again once that has ended.
    """
    deadline = time.monotonic() + 60
    while True:
        answer = send(browser, page, path, **changed)
        if answer.status_code != 302:
            return Page(answer)
        while "did not start" not in browser.get(answer.headers["Location"]).text:
            assert time.monotonic() < deadline, answer.headers["Location"]
            time.sleep(0.1)


def look_inside(hub, service, name, server=""):
    hub.wait_until(
        lambda: (service.get_server(name, server) or {}).get("ready"), f"{name}/{server} is ready"
    )
    port = f"{hub.url}/user/{name}/{server + '/' if server else ''}api"
    return requests.get(port, timeout=10).json()["environment"]


def test_the_form_shows_what_this_person_may_choose(person):
    page = open_form(person)
    assert page.heading == "Start the default workspace"
    images = [each["value"] for each in page.inputs if each.get("name") == "image"]
    assert images == ["small", "broken"]
    assert "Default: 1. At most 2" in page.text
    assert "One core is enough" in page.text
    assert "custom_image" not in page.fields()


def test_the_page_binds_labels_and_descriptions_and_has_no_script_of_its_own(person):
    page = open_form(person)
    for each in page.inputs:
        if each["type"] != "hidden":
            assert each["id"] in page.labels, each
        for described in each.get("aria-describedby", "").split():
            assert described in page.ids
    assert len(page.ids) == len(set(page.ids))
    # JupyterHub's page has one inline script of its own.
    assert len(re.findall(r"<script(?![^>]*\bsrc=)", page.text)) == 1
    assert page.text.count(" style=") == 0


def test_the_form_as_it_comes_starts_what_it_shows(hub, service, person):
    answer = send(person, open_form(person))
    assert answer.status_code == 302
    assert answer.headers["Location"].startswith(f"/hub/spawn-pending/{person.name}")
    inside = look_inside(hub, service, person.name)
    assert (inside["CPU_LIMIT"], inside["MEM_LIMIT"], inside["FAKE_IMAGE"]) == (
        "1.0",
        str(2**30),
        "fake/small:1",
    )


def test_what_is_chosen_is_what_one_gets_and_what_the_form_shows_next_time(hub, service, person):
    sent = {
        "cpu_limit": "2",
        "mem_limit": "1.5 GB",
        "env": "A=b\r\nC=d=e\r\n",
        "days_to_live": "3",
        "is_mount_volume": ["false"],
    }
    assert send(person, open_form(person), **sent).status_code == 302
    inside = look_inside(hub, service, person.name)
    assert (inside["CPU_LIMIT"], inside["MEM_LIMIT"], inside["A"], inside["C"]) == (
        "2.0",
        str(1536 * 2**20),
        "b",
        "d=e",
    )
    service.stop(person.name)
    page = open_form(person)
    shown = {
        name: page.input(name)["value"]
        for name in ("cpu_limit", "mem_limit", "env", "days_to_live")
    }
    assert shown == {
        "cpu_limit": "2",
        "mem_limit": "1536M",
        "env": "A=b\nC=d=e",
        "days_to_live": "3",
    }
    assert "checked" not in page.input("is_mount_volume")
    assert re.search(r"<details[^>]* open", page.text)


def test_a_refused_form_keeps_what_was_typed_and_names_the_fields(service, person):
    typed = {
        "cpu_limit": "64",
        "mem_limit": "<b>lots</b>",
        "env": "TOKEN=mine\nPATH=/x",
        "image": "broken",
        "is_mount_volume": ["false"],
    }
    for _ in range(2):  # the second time JupyterHub has a spawner in hand that failed
        page = refuse(person, open_form(person), **typed)
        assert page.status == 400
        assert page.error("mem_limit").startswith("'<b>lots</b>' is not a size.")
        assert page.error("env").startswith("May not set PATH")
        assert "Memory: '<b>lots</b>' is not a size." in page.alert
        assert page.input("mem_limit")["aria-invalid"] == "true"
        shown = page.fields()
        for name, value in typed.items():
            assert shown[name] == (value if isinstance(value, list) else [value]), name
        assert re.search(r"<details[^>]* open", page.text)
        # JupyterHub's own sentence with all of them would be the same again.
        assert page.text.count("is not a size") == 2
    for _ in range(2):
        page = refuse(person, open_form(person), cpu_limit="64")
        assert page.status == 400
        assert page.error("cpu_limit") == "64 is more than you may have. Ask for at most 2."
        assert page.input("cpu_limit")["value"] == "64"
    server = service.get_server(person.name)
    assert not server["ready"]
    assert server["user_options"] == {}
    # A form that is opened anew is as before.
    assert open_form(person).input("cpu_limit")["value"] == ""


def test_nobody_reaches_past_the_form(hub, service, person):
    for forged in (
        {"image": "large"},
        {"image": "evil/image"},
        {"is_custom_image": "true", "custom_image": "evil/image"},
        {"image": ":other", "custom_image": "evil/image"},
        {"privileged": "true"},
        {"env": "LD_PRELOAD=/x.so"},
        {"cpu_limit": ["1", "2"]},
    ):
        page = refuse(person, open_form(person), **forged)
        assert page.status == 400, forged
        assert page.alert, forged
    answer = person.post(
        "/hub/spawn",
        data=b"_xsrf=" + open_form(person).fields()["_xsrf"][0].encode() + b"&env=%ff%fe",
        headers=FORM,
    )
    assert answer.status_code == 400
    assert not service.get_server(person.name)["ready"]
    # The form was sent by another site's page.
    answer = person.post("/hub/spawn", data={"cpu_limit": "1"}, allow_redirects=False)
    assert answer.status_code == 403
    # The twin that may.
    assert send(person, open_form(person), cpu_limit="1").status_code == 302
    assert look_inside(hub, service, person.name)["FAKE_IMAGE"] == "fake/small:1"


FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def test_a_named_server_has_a_form_of_its_own(hub, service, person):
    path = f"/hub/spawn/{person.name}/second"
    # The default server runs with other options, and stays as it is.
    assert send(person, open_form(person), cpu_limit="0.5").status_code == 302
    look_inside(hub, service, person.name)
    page = open_form(person, path)
    assert page.heading == "Start “second”"
    assert page.input("cpu_limit")["value"] == ""
    refused = refuse(person, page, path, cpu_limit="64")
    assert refused.status == 400
    assert refused.heading == "Start “second”"
    assert refused.error("cpu_limit").startswith("64 is more")
    assert send(person, refused, path, cpu_limit="2").status_code == 302
    assert look_inside(hub, service, person.name, "second")["CPU_LIMIT"] == "2.0"
    assert look_inside(hub, service, person.name)["CPU_LIMIT"] == "0.5"
    # The sum is over; the sentence is about no field of the form.
    third = f"/hub/spawn/{person.name}/third"
    page = refuse(person, open_form(person, third), third)
    assert page.status == 400
    assert "You" in page.alert
    assert "2" in page.alert


def test_who_only_looks_at_the_form_of_a_new_server_adds_none(hub, service, person):
    def known():
        return person.get("/hub/home").text.count('home-server-row" data-server-name="glance"')

    path = f"/hub/spawn/{person.name}/glance"
    with ThreadPoolExecutor(4) as pool:  # several tabs at once
        pages = list(pool.map(lambda _: open_form(person, path), range(4)))
    assert {page.heading for page in pages} == {"Start “glance”"}
    assert not known()
    # The form that was looked at is good for a start all the same, and a server that exists stays.
    assert send(person, pages[0], path, cpu_limit="0.5").status_code == 302
    look_inside(hub, service, person.name, "glance")
    assert known() == 1
    open_form(person, f"/hub/spawn/{person.name}/another")
    assert known() == 1


def test_a_server_takes_no_address_of_a_page_inside_the_default_workspace(hub, service, person):
    owner = f"users/{person.name}"
    for name in ("lab", "api", "tree", "files", "static"):
        for method in ("PUT", "POST"):
            answer = service.request(method, f"{owner}/servers/{name}")
            assert answer.status_code == 400
            assert f"A workspace cannot be called '{name}'" in answer.json()["message"]
        assert person.get(f"/hub/spawn/{person.name}/{name}").status_code == 400
    assert not service.get(owner).json()["servers"]
    assert service.put(f"{owner}/servers/my-lab").status_code == 201  # the twin
    page = person.get("/hub/home").text
    assert 'data-server-name="my-lab"' in page
    assert "hides a page" not in page
    # One from before is used on, and its owner is told.
    assert service.start(person.name, {"cpu_limit": 0.5}, "older").status_code == 201
    page = person.get("/hub/home").text
    assert "lab: such a name hides a page of the default workspace" in page
    assert service.start(person.name, {"cpu_limit": 0.5}, "lab").status_code == 201
    assert service.stop(person.name, "lab").status_code == 204


def test_all_faults_are_told_at_once_and_in_the_units_of_the_help(person):
    page = open_form(person)
    assert "At most 2 GB" in page.text
    typed = {"cpu_limit": "64", "mem_limit": "3000000 MB", "days_to_live": "soon", "env": "A B"}
    page = refuse(person, page, **typed)
    assert page.status == 400
    assert page.error("cpu_limit") == "64 is more than you may have. Ask for at most 2."
    assert page.error("mem_limit") == "2929.6 GB is more than you may have. Ask for at most 2 GB."
    assert page.error("days_to_live").startswith("'soon' is not a number")
    assert page.error("env")
    assert [page.input(name)["value"] for name in typed] == list(typed.values())
    # The twin: nothing is told of what is well.
    page = refuse(person, page, **{**typed, "cpu_limit": "1", "env": "A=b"})
    assert (page.status, page.error("cpu_limit"), page.error("env")) == (400, "", "")


def test_an_administrator_sees_their_own_choice_and_the_owners_name(hub, service, person, boss):
    path = f"/hub/spawn/{person.name}"
    page = open_form(boss, path)
    assert page.heading == f"Start the default workspace for {person.name}"
    assert [each["value"] for each in page.inputs if each.get("name") == "image"] == [
        "small",
        "large",
        "broken",
        ":other",
    ]
    refused = refuse(boss, page, path, cpu_limit="64", image="large")
    assert refused.status == 400
    assert refused.heading == page.heading
    assert refused.error("cpu_limit") == "64 is more than you may have. Ask for at most 8."
    # What the administrator looked at lends the owner nothing.
    assert refuse(person, open_form(person), cpu_limit="4", image="large").status == 400
    assert (
        send(
            boss, refused, path, cpu_limit="4", image=":other", custom_image="lab/own:1"
        ).status_code
        == 302
    )
    inside = look_inside(hub, service, person.name)
    assert (inside["CPU_LIMIT"], inside["FAKE_IMAGE"]) == ("4.0", "lab/own:1")
    # Somebody else's form is nobody's business.
    assert person.get("/hub/spawn/boss", allow_redirects=False).status_code == 404


def test_an_administrator_opens_the_form_of_a_named_server_of_somebody(hub, service, person, boss):
    path = f"/hub/spawn/{person.name}/second"
    page = open_form(boss, path)
    assert page.heading == f"Start “second” for {person.name}"
    assert send(boss, page, path, image="large").status_code == 302
    assert look_inside(hub, service, person.name, "second")["FAKE_IMAGE"] == "fake/large:1"


def test_options_in_the_address_fill_in_the_form_and_start_nothing(hub, service, person):
    page = open_form(
        person, "/hub/spawn?opt-cpu_limit=2&opt-image=broken&opt-env=A%3Db&next=%2Fhub%2Fhome"
    )
    assert page.fields()["image"] == ["broken"]
    assert page.input("cpu_limit")["value"] == "2"
    assert page.input("env")["value"] == "A=b"
    assert not service.get_server(person.name)["ready"]
    action = html.unescape(re.search(r'id="spawn_form" action="([^"]*)"', page.text)[1])
    assert action == "/hub/spawn?next=%2Fhub%2Fhome"
    # Too much is refused when it is sent, like anything that is typed.
    page = open_form(person, "/hub/spawn?opt-cpu_limit=64")
    assert refuse(person, page).error("cpu_limit").startswith("64 is more")
    assert send(person, page, cpu_limit="2").status_code == 302
    assert look_inside(hub, service, person.name)["CPU_LIMIT"] == "2.0"


def test_with_nothing_to_choose_the_address_alone_starts(hub, service, person):
    service.make_person(person.name, groups=("children",))
    answer = person.get("/hub/spawn?opt-cpu_limit=2", allow_redirects=False)
    assert answer.status_code == 400
    assert "nothing to choose" in answer.text
    assert not service.get_server(person.name)["ready"]
    # Sent by hand it is refused as well, with the sentence.
    page = Page(
        person.post("/hub/spawn", data={"_xsrf": person.xsrf("/hub/ssh-keys"), "cpu_limit": "2"})
    )
    assert page.status == 400
    assert page.alert.startswith("cpu_limit cannot be chosen here.")
    assert person.get("/hub/spawn", allow_redirects=False).status_code == 302
    assert look_inside(hub, service, person.name)["CPU_LIMIT"] == "1.0"


def test_a_start_that_fails_later_leads_back_to_what_was_typed(hub, service, person):
    path = f"/hub/spawn/{person.name}/slow"
    assert (
        send(
            person, open_form(person, path), path, image="broken", cpu_limit="2", env="A=b"
        ).status_code
        == 302
    )
    pending = f"/hub/spawn-pending/{person.name}/slow"
    hub.wait_until(lambda: "did not start" in person.get(pending).text, "the start has failed")
    page = person.get(pending).text
    assert re.search(
        r'<p class="alert[^>]*>The workspace ended before it answered\. '
        r"Its last lines were \(MLHUB-E\d+\):</p>",
        page,
    )
    assert re.search(r'<pre class="mlhub-log"[^>]*>\s*fake: cannot start</pre>', page)
    assert f'href="/hub/spawn/{person.name}/slow">Start with other options' in page
    assert f'action="/hub/start/{person.name}/slow"' in page
    again = open_form(person, path)
    assert again.fields()["image"] == ["broken"]
    assert (again.input("cpu_limit")["value"], again.input("env")["value"]) == ("2", "A=b")


def test_a_start_that_is_refused_later_leads_back_to_what_was_typed_and_why(hub, service, person):
    path = f"/hub/spawn/{person.name}/slow"
    # Within the policy when it was sent, and forbidden by the time the site's hook is through.
    assert send(person, open_form(person, path), path, cpu_limit="2", env="A=b").status_code == 302
    try:
        hub.policy(
            POLICY.replace("cpu_limit: {default: 1, max: 2}", "cpu_limit: {default: 1, max: 1.5}")
        )
        pending = f"/hub/spawn-pending/{person.name}/slow"
        hub.wait_until(lambda: "did not start" in person.get(pending).text, "the start was refused")
        page = person.get(pending).text
        assert "2 is more than you may have. Ask for at most 1.5." in page
        assert "Rule:" not in page
        # The options that were refused are not kept: to press the same again starts others.
        assert f'action="/hub/start/{person.name}/slow"' not in page
        page = open_form(person, path)
        assert page.error("cpu_limit") == "2 is more than you may have. Ask for at most 1.5."
        assert (page.input("cpu_limit")["value"], page.input("env")["value"]) == ("2", "A=b")
    finally:
        hub.policy(POLICY)


def test_a_form_whose_refusal_takes_its_time_tells_why_on_the_page_that_it_leads_to(hub, person):
    held = hub.directory / "stay"
    held.touch()
    try:
        # JupyterHub waits a second for the end of a start that was refused.
        answer = send(person, open_form(person), cpu_limit="64", env="A=b")
        assert answer.status_code == 302
        pending = answer.headers["Location"]
        meanwhile = person.get(pending)
        assert Page(meanwhile).heading == "Your workspace cannot start"
        assert meanwhile.headers["Refresh"] == "1"
    finally:
        held.unlink()
    hub.wait_until(lambda: "did not start" in person.get(pending).text, "the start has ended")
    told = person.get(pending)
    assert told.status_code == 400
    assert "64 is more than you may have. Ask for at most 2." in told.text
    assert "Refresh" not in told.headers
    page = open_form(person)
    assert page.error("cpu_limit") == "64 is more than you may have. Ask for at most 2."
    assert (page.input("cpu_limit")["value"], page.input("env")["value"]) == ("64", "A=b")


def test_a_refusal_that_comes_just_as_its_form_is_led_on_is_told_as_well(hub, person):
    path = f"/hub/spawn/{person.name}/late"
    answer = send(person, open_form(person, path), path, cpu_limit="64")
    assert answer.status_code == 302
    hub.wait_until(
        lambda: "did not start" in person.get(answer.headers["Location"]).text, "it is told"
    )
    told = person.get(answer.headers["Location"])
    assert (told.status_code, "Ask for at most 2." in told.text) == (400, True)
    again = open_form(person, path)
    assert again.error("cpu_limit") == "64 is more than you may have. Ask for at most 2."


def test_a_license_key_is_typed_as_a_password_kept_and_never_shown_again(hub, service, person):
    secret = "AAAA-BBBB-CCCC-DDDD"
    service.make_person(person.name, groups=("licensed",))
    page = open_form(person)
    assert (page.input("license")["type"], page.input("license").get("value", "")) == (
        "password",
        "",
    )
    refused = refuse(person, page, license=secret, cpu_limit="9")
    assert (refused.status, refused.error("cpu_limit") is not None) == (400, True)
    assert secret not in refused.text
    assert send(person, page, license=secret).status_code == 302
    assert look_inside(hub, service, person.name)["LICENSE_KEY"] == secret
    service.stop(person.name)
    page = open_form(person)
    assert "One is kept" in page.text
    assert secret not in page.text
    assert "sealed:" not in page.text
    assert send(person, page, cpu_limit="2").status_code == 302
    assert look_inside(hub, service, person.name)["LICENSE_KEY"] == secret
    service.stop(person.name)
    assert send(person, open_form(person), license="none").status_code == 302
    assert "LICENSE_KEY" not in look_inside(hub, service, person.name)
    service.stop(person.name)
    assert "One is kept" not in open_form(person).text


def test_what_the_owner_may_see_nobody_keeps(person):
    assert person.get("/hub/spawn").headers["Cache-Control"] == "no-store"


def test_a_site_adds_a_field_of_its_own_as_the_documentation_says(workspace_hub, root):
    """By ``options_form``; the product's own ``options_from_form`` takes what is named."""
    examples = re.findall(
        r"```python\n(.*?)```", (root / "docs" / "howto" / "options.md").read_text(), re.DOTALL
    )
    (example,) = [text for text in examples if "extra_options" in text]
    hub = workspace_hub(
        CONFIG.replace("c.Spawner.pre_spawn_hook = linger", "") + example, policy=POLICY
    )
    person = sign_in(hub, "anna")
    page = open_form(person)
    assert "course" in page.labels
    refused = refuse(person, page, course="astrology", cpu_limit="2")
    assert refused.status == 400
    assert refused.alert == "There is no such course."
    assert refused.input("cpu_limit")["value"] == "2"
    assert send(person, refused, course="biology").status_code == 302
    inside = look_inside(hub, hub.service(), "anna")
    assert (inside["COURSE"], inside["CPU_LIMIT"]) == ("biology", "2.0")
