"""The larger workspaces as people open them: offered because they are on the host, by button and
launcher.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.support.browser_window import Person
from tests.support.hub_container import ROOT, Hub, HubMaker
from tests.support.websockets import is_open, open_websocket

pytestmark = [pytest.mark.full, pytest.mark.timeout(1800)]
# A screen on which nothing is drawn has one color.
HAS_A_DESKTOP = """() => {
    const canvas = document.querySelector("canvas");
    if (!canvas || !canvas.width) return false;
    const all = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    const colors = new Set();
    for (let i = 0; i < all.length; i += 4) colors.add(all[i] << 16 | all[i + 1] << 8 | all[i + 2]);
    return colors.size > 100;
}"""


@pytest.fixture
def hub(
    request: pytest.FixtureRequest, make_hub: HubMaker, prepare_hub: Callable[[Hub], Hub]
) -> Hub:
    """Return a hub for which no images are named, on a host that has the one that a test names."""
    sys.path.insert(0, str(ROOT / "scripts"))
    from tools.images import VARIANTS, WORKSPACE, ensure_image

    ensure_image(WORKSPACE)
    ensure_image(VARIANTS[request.param])
    sys.path.remove(str(ROOT / "scripts"))
    return prepare_hub(make_hub(""))


def start(me: Person, name: str) -> Page:
    """Start a workspace of a larger image, called as that is; return the home page."""
    reference = f"mltooling/mlhub-workspace-{name}:latest"
    # Administrators may name any image; this one is offered.
    offered = me.visit("/hub/spawn/admin").locator(f'[name="image"][value="{reference}"]')
    expect(offered).to_have_count(1)
    status, told = me.call("POST", f"users/admin/servers/{name}", {"image": reference})
    assert status in (201, 202), told
    me.hub.wait_for(
        lambda: me.call("GET", "users/admin")[1]["servers"][name]["ready"], f"{name} runs", 120
    )
    return me.visit("/hub/home")


@pytest.mark.parametrize("hub", ["science"], indirect=True)
def test_tensorboard_is_a_button_of_the_science_image(hub, admin):
    start(admin, "science").get_by_role("link", name="TensorBoard").click()
    expect(admin.page.get_by_text("No dashboards are active").first).to_be_visible()
    admin.shoot("larger-tensorboard")


@pytest.mark.parametrize("hub", ["desktop"], indirect=True)
def test_a_desktop_opens_from_the_launcher_for_its_owner_alone(hub, admin):
    start(admin, "desktop")
    token = admin.call("POST", "users/admin/tokens", {})[1]["token"]
    admin.visit("/user/admin/desktop/lab")
    with admin.page.expect_popup() as opened:
        admin.wait_in_lab('.jp-LauncherCard[title*="Desktop"]').click()
    desktop = opened.value
    desktop.wait_for_function(HAS_A_DESKTOP)
    admin.page = desktop
    admin.shoot("larger-desktop")
    socket = "/user/admin/desktop/desktop-websockify/"
    assert is_open(open_websocket(hub.url, socket, {"Authorization": f"token {token}"}))
    with pytest.raises(ConnectionError):
        open_websocket(hub.url, socket, {})
