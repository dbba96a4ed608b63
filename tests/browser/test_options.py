"""Choosing what a workspace gets, by browser.

The form, its refusals, and watching an image come.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from docker import from_env
from playwright.sync_api import Page, expect

from tests.support.registry import Line, Registry, build, push

POLICY = """
images:
  - {{name: small, image: "mlhub-test-workspace:latest", description: "One core is enough for it", \
options: [image, cpu_limit, mem_limit, days_to_live]}}
  - {{name: large, image: "mlhub-test-workspace:latest", \
description: "With compilers, a desktop, and room for data"}}
  - {{name: crashing, image: "mlhub-test-workspace:latest", description: "Ends before it answers", \
cmd: [sh, -c, "{crash}"]}}
  - {{name: far-away, image: "{slow_image}", description: "Not on this machine yet"}}
  - {{name: moving, image: "{moving_image}", description: "There will be a newer one"}}
everyone:
  cpu_limit: {{default: 0.5, max: 1}}
  mem_limit: {{default: 256M, max: 1G}}
  shm_size: {{max: 128M}}
  days_to_live: {{default: 3, max: 14}}
admins:
  custom_images: true
"""
CRASH = (
    "for n in 1 2 3; do echo reading part $n of the data; done; sleep 3; "
    "echo the disk of this workspace is full; exit 3"
)
CONFIG = """
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.Authenticator.admin_users = {"admin"}
c.DockerSpawner.host_gpus = ["GPU-11111111-aaaa", "GPU-22222222-bbbb"]
"""
# Until somebody watches nearly nothing comes; then all of it within seconds.
TRICKLE, FLOW = 100_000, 3_000_000
LAYERS, LAYER_BYTES = 3, 6_000_000
LABEL = {"mlhub.test": "browser"}


class Loop:
    """An event loop in a thread: Playwright has its own in this one."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def run(self, coroutine: Any) -> Any:
        """Run a coroutine to its end."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(30)

    def close(self) -> None:
        """End the thread."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)


def docker(*words: str, check: bool = True) -> str:
    result = subprocess.run(["docker", *words], capture_output=True, text=True, timeout=300)
    assert not check or result.returncode == 0, f"docker {' '.join(words)}: {result.stderr}"
    return result.stdout.strip()


@pytest.fixture(scope="module")
def line(
    tmp_path_factory: pytest.TempPathFactory, wait_for: Callable[..., object]
) -> Iterator[Line]:
    """Return a slow line to a real registry."""
    registry = Registry(tmp_path_factory.mktemp("registry"))
    loop, line = Loop(), Line(registry, TRICKLE)
    try:
        wait_for(registry.answers, "the registry answers")
        loop.run(line.__aenter__())
        yield line
        loop.run(line.__aexit__())
    finally:
        registry.end()
        loop.close()


@pytest.fixture(scope="module")
def slow_image(line: Line) -> Iterator[str]:
    """Return the reference of an image with a few megabytes of its own, at the end of the line."""
    client, name = from_env(), f"lab/far-away:{secrets.token_hex(3)}"
    direct, reference = f"{line.registry.address}/{name}", f"{line.address}/{name}"
    try:
        build(client, direct, "mlhub-test-workspace:latest", LAYERS, LAYER_BYTES, label=LABEL)
        push(client, direct)
        client.images.remove(direct, force=True)
        yield reference
    finally:
        docker("rmi", "--force", reference, check=False)
        client.close()


@pytest.fixture(scope="module")
def moving_image(slow_image: str) -> Iterator[str]:
    """Return the reference of an image that is on this machine alone."""
    reference = slow_image.rpartition("/")[0] + "/moving:1"
    docker("tag", "mlhub-test-workspace:latest", reference)
    yield reference
    docker("rmi", "--force", reference, check=False)


@pytest.fixture(scope="module")
def hub(slow_image, moving_image, make_hub, tmp_path_factory):
    """Return a hub with a policy, where anybody may sign in and `admin` is the administrator."""
    policy = tmp_path_factory.mktemp("policy") / "policy.yaml"
    policy.write_text(POLICY.format(slow_image=slow_image, moving_image=moving_image, crash=CRASH))
    return make_hub(
        CONFIG,
        mounts=(f"{policy}:/etc/mlhub/policy.yaml:ro",),
        POLICY_FILE="/etc/mlhub/policy.yaml",
    )


@pytest.fixture
def sign_in(hub, open_window):
    """Return a function that opens a window in which somebody is signed in: ``sign_in(name,
    viewport=…)``.
    """

    def enter(name: str, **options):
        person = open_window(hub, **options)
        person.sign_in(name)
        person.page.wait_for_url("**/hub/home")
        return person

    return enter


def inspect(hub, owner: str, server: str = "") -> dict:
    """Return what the engine knows of a workspace's container, once there is one."""

    def find() -> dict | None:
        for name in hub.containers():
            found = json.loads(docker("inspect", name))[0]
            labels = found["Config"]["Labels"]
            if (labels["mlhub.user"], labels["mlhub.server_name"]) == (owner, server):
                return found
        return None

    return hub.wait_for(find, f"{owner}/{server} has a container", seconds=120)


def lead_back(page: Page) -> None:
    """Have a refusal that a busy hub tells late, where one watches the start, lead back to the form
    as it does in time.
    """
    page.add_locator_handler(
        page.get_by_role("link", name="Start with other options"), lambda link: link.click()
    )


def wait_until_there(person, path: str) -> None:
    person.page.wait_for_url(f"**{path}**", wait_until="commit")


def test_a_workspace_gets_what_was_chosen_and_its_owner_sees_it(hub, sign_in):
    ada = sign_in("ada")
    page = ada.page
    page.get_by_role("link", name="Options… the default workspace").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Start the default workspace")
    expect(page.get_by_role("radio", name="small")).to_be_checked()
    ada.shoot("options-1-form")
    page.get_by_role("radio", name="large").check()
    page.get_by_label("CPU cores").fill("0.25")
    page.get_by_label("Memory", exact=True).fill("300 MB")
    page.get_by_text("More options").click()
    page.get_by_label("Days to live").fill("2")
    page.get_by_label("Environment variables").fill("TEST_COLOUR=green\nTEST_SIZE=a = b")
    ada.shoot("options-2-filled")
    page.get_by_role("button", name="Start").click()
    wait_until_there(ada, "/user/ada/")
    found = inspect(hub, "ada")
    assert found["HostConfig"]["NanoCpus"] or found["HostConfig"]["CpuQuota"]
    assert found["HostConfig"]["Memory"] == 300 * 2**20
    assert {"TEST_COLOUR=green", "TEST_SIZE=a = b"} <= set(found["Config"]["Env"])

    ada.visit("/hub/home")
    facts = page.locator(".home-server-row").first
    expect(facts).to_contain_text("0.25 CPU · 300 MB memory")
    expect(facts).to_contain_text(re.compile("Expires ?in (47|48) hours"))
    ada.shoot("options-3-home")
    page.get_by_role("button", name="Extend the default workspace").click()
    expect(page.get_by_role("dialog")).to_contain_text("At most 14.")
    page.get_by_label("Days from now").fill("100")
    page.keyboard.press("Enter")
    expect(page.locator("#extend-error")).to_have_text(
        "100 days is more than you may have. Ask for at most 14 days."
    )
    ada.shoot("options-4-extend-refused")
    page.get_by_label("Days from now").fill("10")
    page.keyboard.press("Enter")
    expect(page.locator("#home-notice")).to_have_text("The default workspace is extended.")
    expect(facts).to_contain_text("in 10 days")
    assert [line for line in ada.list_complaints() if "400" not in line] == []

    # The next form shows what was chosen.
    page.get_by_role("button", name="Stop the default workspace").click()
    expect(page.locator("#home-notice")).to_have_text("The default workspace is stopped.")
    page.get_by_role("link", name="Options… the default workspace").click()
    expect(page.get_by_role("radio", name="large")).to_be_checked()
    expect(page.get_by_label("Environment variables")).to_have_value(
        "TEST_COLOUR=green\nTEST_SIZE=a = b"
    )
    ada.shoot("options-5-again")


def test_a_refusal_is_shown_at_its_field_and_nothing_typed_is_lost(sign_in, find_barriers):
    bob = sign_in("bob")
    page = bob.visit("/hub/spawn")
    lead_back(page)
    page.get_by_role("radio", name="large").check()
    page.get_by_label("CPU cores").fill("64")
    page.get_by_label("Memory", exact=True).fill("<b>lots</b>")
    page.get_by_text("More options").click()
    page.get_by_label("Environment variables").fill("LD_PRELOAD=/evil.so")
    page.get_by_role("button", name="Start").click()
    summary = page.get_by_role("alert")
    expect(summary).to_contain_text("Memory: '<b>lots</b>' is not a size.")
    expect(summary).to_be_focused()
    bob.shoot("options-6-refused")
    assert find_barriers(page) == []
    expect(page.get_by_label("Memory", exact=True)).to_have_value("<b>lots</b>")
    expect(page.get_by_label("Memory", exact=True)).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#option-mem_limit-error")).to_contain_text("'<b>lots</b>' is not a size.")
    expect(page.get_by_role("radio", name="large")).to_be_checked()
    expect(page.get_by_label("Environment variables")).to_be_visible()
    page.get_by_role("link", name="Memory:").click()
    expect(page.get_by_label("Memory", exact=True)).to_be_focused()
    # What is wrong by the policy is told beside what cannot be read.
    expect(page.locator("#option-cpu_limit-error")).to_have_text(
        "64 is more than you may have. Ask for at most 1."
    )
    expect(page.get_by_label("CPU cores")).to_have_value("64")
    page.get_by_label("Memory", exact=True).fill("300 MB")
    page.get_by_label("Environment variables").fill("")
    page.get_by_label("CPU cores").fill("")
    page.get_by_role("button", name="Start").click()
    wait_until_there(bob, "/user/bob/")


def test_only_what_goes_with_an_image_is_asked(sign_in):
    page = sign_in("carl").visit("/hub/spawn")
    expect(page.get_by_role("group", name="GPUs")).to_be_hidden()
    page.get_by_role("radio", name="large").check()
    expect(page.get_by_role("group", name="GPUs")).to_be_visible()
    page.get_by_role("checkbox", name="GPU 1").check()
    page.get_by_role("radio", name="small").check()
    # What is hidden is not sent, so it cannot be refused either.
    page.get_by_role("button", name="Start").click()
    page.wait_for_url("**/user/carl/**", wait_until="commit")


def test_an_administrator_starts_a_named_server_for_somebody(hub, sign_in):
    admin = sign_in("admin")
    assert admin.call("POST", "users/mia")[0] == 201
    page = admin.visit("/hub/spawn/mia/gift")
    expect(page.get_by_role("heading", level=1)).to_have_text("Start “gift” for mia")
    page.get_by_role("radio", name="Another image").check()
    admin.shoot("options-7-for-mia")
    page.get_by_label("Reference of the other image").fill("Not An Image")
    page.get_by_role("button", name="Start").click()
    expect(page.locator("#option-custom_image-error")).to_contain_text(
        "is not the name of an image"
    )
    expect(page.get_by_role("heading", level=1)).to_have_text("Start “gift” for mia")
    page.get_by_label("Reference of the other image").fill("mlhub-test-workspace:latest")
    page.get_by_role("button", name="Start").click()
    page.wait_for_url(
        re.compile("/user/mia/gift/|/hub/(error|spawn-pending)|/hub/api/oauth2"),
        wait_until="commit",
    )
    assert inspect(hub, "mia", "gift")["Config"]["Image"].startswith(
        ("mlhub-test-workspace", "sha256:")
    )
    mia = sign_in("mia")
    expect(mia.page.get_by_role("article", name="gift")).to_contain_text("Running")


def test_the_form_needs_no_mouse(sign_in):
    person = sign_in("keys")
    page, keyboard = person.page, person.page.keyboard
    lead_back(page)

    def tab_to(selector: str) -> None:
        for _ in range(30):
            if page.evaluate("selector => document.activeElement.matches(selector)", selector):
                return
            keyboard.press("Tab")
        raise AssertionError(f"the Tab key does not lead to {selector}")

    tab_to("a[href='/hub/spawn/keys']")
    keyboard.press("Enter")
    page.wait_for_url("**/hub/spawn/keys")
    tab_to("[name=image]")
    keyboard.press("ArrowDown")
    expect(page.get_by_role("radio", name="large")).to_be_checked()
    person.shoot("options-8-keyboard")
    tab_to("#option-cpu_limit")
    keyboard.type("64")
    tab_to("summary")
    keyboard.press("Enter")
    tab_to("#option-is_mount_volume")
    keyboard.press("Space")
    tab_to("button[type=submit]")
    keyboard.press("Enter")
    # The summary of what is wrong has the focus; its link leads to the field.
    expect(page.get_by_role("alert")).to_be_focused()
    keyboard.press("Tab")
    keyboard.press("Enter")
    expect(page.get_by_label("CPU cores")).to_be_focused()
    expect(page.get_by_label("Keep files in a volume")).not_to_be_checked()
    keyboard.press("Control+a")
    keyboard.type("1")
    keyboard.press("Enter")
    wait_until_there(person, "/user/keys/")


def test_the_form_needs_no_javascript(hub, sign_in):
    admin = sign_in("admin", java_script_enabled=False)
    admin.page.goto(hub.url + "/hub/spawn/admin/plain")
    page = admin.page
    expect(page.get_by_text("JupyterHub requires JavaScript")).to_be_hidden()
    page.get_by_label("CPU cores").fill("0.25")
    page.get_by_role("radio", name="Another image").check()
    page.get_by_role("button", name="Start").click()
    expect(page.locator("#option-custom_image-error")).to_have_text(
        "Name an image, or choose one of the list."
    )
    expect(page.get_by_label("CPU cores")).to_have_value("0.25")
    admin.shoot("options-9-without-javascript")
    page.get_by_label("Reference of the other image").fill("mlhub-test-workspace:latest")
    page.get_by_role("button", name="Start").click()
    page.wait_for_url(
        re.compile("/spawn-pending/admin/plain|/user/admin/plain"), wait_until="commit"
    )


def test_the_form_fits_a_phone_and_the_dark_mode(sign_in, find_barriers):
    phone = sign_in("phone", viewport={"width": 375, "height": 740}, color_scheme="dark")
    page = phone.visit("/hub/spawn?opt-cpu_limit=64&opt-image=large")
    lead_back(page)
    page.get_by_role("button", name="Start").click()
    expect(page.locator("#option-cpu_limit-error")).to_be_visible()
    page.get_by_text("More options").click()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate("document.documentElement.dataset.bsTheme") == "dark"
    assert find_barriers(page) == []
    phone.shoot("options-10-phone", full_page=True)


def test_one_sees_an_image_come_with_moving_percentages(sign_in, line):
    eve = sign_in("eve")
    page = eve.visit("/hub/spawn")
    page.get_by_role("radio", name="far-away").check()
    page.get_by_role("button", name="Start").click()
    page.wait_for_url("**/hub/spawn-pending/eve")
    page.evaluate("""() => {
        window.seen = [];
        const note = () => {
            const percent = Number(document.querySelector("[role=progressbar]").getAttribute("aria-valuenow"));
            const last = window.seen.at(-1);
            const message = document.getElementById("progress-message").textContent;
            if (!last || last.percent !== percent) window.seen.push({percent, message});
            sessionStorage.setItem("seen", JSON.stringify(window.seen));
        };
        new MutationObserver(note).observe(document.getElementById("pending"), {subtree: true, attributes: true, characterData: true, childList: true});
        note();
    }""")  # noqa: E501
    line.rate = FLOW
    expect(page.locator("#progress-message")).to_contain_text(re.compile(r"[\d.]+ MB of [\d.]+ MB"))
    page.wait_for_function("JSON.parse(sessionStorage.getItem('seen')).length >= 4")
    page.get_by_text("Event log").click()
    eve.shoot("options-11-pulling")
    wait_until_there(eve, "/user/eve/")
    eve.visit("/hub/home")
    seen = json.loads(page.evaluate("sessionStorage.getItem('seen')"))
    percents = [each["percent"] for each in seen]
    assert percents == sorted(percents)
    moving = {each["percent"] for each in seen if "MB of" in each["message"]}
    assert len(moving) >= 4, seen


def test_a_workspace_that_dies_leaves_its_last_lines_and_the_way_back(sign_in):
    fay = sign_in("fay")
    page = fay.visit("/hub/spawn")
    page.get_by_role("radio", name="crashing").check()
    page.get_by_label("CPU cores").fill("0.75")
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("did not start")
    expect(page.locator(".mlhub-log:visible")).to_contain_text("the disk of this workspace is full")
    fay.shoot("options-12-died")
    page.get_by_role("link", name="Start with other options").click()
    expect(page.get_by_role("radio", name="crashing")).to_be_checked()
    expect(page.get_by_label("CPU cores")).to_have_value("0.75")


def test_a_newer_image_is_offered_and_taken_with_a_click(hub, sign_in, moving_image, tmp_path):
    gus = sign_in("gus")
    page = gus.visit("/hub/spawn")
    page.get_by_role("radio", name="moving").check()
    page.get_by_label("CPU cores").fill("0.75")
    page.get_by_role("button", name="Start").click()
    wait_until_there(gus, "/user/gus/")
    gus.visit("/hub/home")
    expect(page.locator(".home-server-row").first).to_contain_text("0.75 CPU")
    expect(page.get_by_role("button", name="Update")).to_have_count(0)
    (tmp_path / "Dockerfile").write_text(
        "FROM mlhub-test-workspace:latest\nLABEL mlhub.test=browser\nENV TEST_VERSION=2\n"
    )
    docker("build", "--quiet", "--tag", moving_image, str(tmp_path))
    gus.visit("/hub/home")
    expect(page.get_by_role("button", name="Update the default workspace")).to_be_visible()
    gus.shoot("options-13-update")
    page.get_by_role("button", name="Update the default workspace").click()
    expect(page.get_by_role("dialog")).to_contain_text(
        "Files in its volume and its options are kept."
    )
    gus.shoot("options-14-update-asked")
    page.get_by_role("dialog").get_by_role("button", name="Update").click()
    page.wait_for_url(
        re.compile("/hub/spawn-pending/gus|/user/gus/"),
        wait_until="commit",
    )
    wait_until_there(gus, "/user/gus/")
    found = inspect(hub, "gus")
    assert "TEST_VERSION=2" in found["Config"]["Env"]
    assert found["HostConfig"]["CpuQuota"] or found["HostConfig"]["NanoCpus"]
    gus.visit("/hub/home")
    expect(page.locator(".home-server-row").first).to_contain_text("0.75 CPU")
    expect(page.get_by_role("button", name="Update")).to_have_count(0)
