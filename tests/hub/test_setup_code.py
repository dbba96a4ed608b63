"""The first administrator: by the one-time code in the log, or by a password in the settings."""

from __future__ import annotations

import re
import stat

import pytest

from mlhub.errors import ConfigurationError
from mlhub.signin.native.setup import SETUP_CODE_NAME, ensure_setup_code

GOOD = "correct horse 42"
WITH_CODE = """
c.MLHubNativeAuthenticator.setup_directory = str(Path(c.JupyterHub.cookie_secret_file).parent)
"""


def link_in_log(server):
    return re.search(r"http://127\.0\.0\.1:\d+(/hub/signup\?setup=(\S+))", server.log)


def accounts(server):
    return dict(server.query("select username, coalesce(is_authorized, 0) from users_info"))


def test_the_link_in_the_log_sets_up_the_administrator_once(hub):
    server = hub(WITH_CODE)
    page, code = link_in_log(server).groups()
    file = server.directory / SETUP_CODE_NAME
    assert file.read_text().strip() == code
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    browser = server.browser()
    assert "no administrator yet" in browser.get("/hub/login").text
    form = browser.get(page).text
    assert 'value="admin"' in form
    assert "Set up the administrator" in form
    browser.sign_up("admin", GOOD, page, setup=code)
    assert browser.get("/hub/authorize").status_code == 200, "the link has signed them in"
    assert not file.exists()
    other = server.browser()
    assert "no administrator yet" not in other.get("/hub/login").text
    other.log_in("admin", GOOD)
    assert other.get("/hub/authorize").status_code == 200

    late = server.browser()
    assert late.get(page).status_code == 410
    late.sign_up("admin", "another good 77", "/hub/signup", setup=code)
    late.log_in("admin", "another good 77")
    assert not late.is_signed_in()

    server.stop()
    server.start()
    assert not file.exists()
    assert len(re.findall("signup\\?setup=", server.log.split("/hub/login")[-1])) == 0
    assert server.admin(GOOD)


def test_opening_the_link_uses_nothing_up_and_a_restart_keeps_the_code(hub):
    server = hub(WITH_CODE)
    page, code = link_in_log(server).groups()
    for _ in range(10):
        assert server.browser().get(page).status_code == 200
    server.stop()
    server.start()
    assert (server.directory / SETUP_CODE_NAME).read_text().strip() == code
    browser = server.browser()
    browser.sign_up("admin", GOOD, page, setup=code)
    assert browser.is_signed_in()


def test_a_weak_password_does_not_use_the_code_up(hub):
    server = hub(WITH_CODE + "c.NativeAuthenticator.ask_email_on_signup = True\n")
    page, code = link_in_log(server).groups()
    browser = server.browser()
    assert "at least 10" in browser.message(browser.sign_up("admin", "short", page, setup=code))
    browser.sign_up("admin", GOOD, page, setup=code)
    assert browser.is_signed_in()


def test_the_code_makes_nobody_else_an_account(hub):
    server = hub(WITH_CODE + "c.JupyterHub.load_roles = []\n")
    page, code = link_in_log(server).groups()
    browser = server.browser()
    assert browser.sign_up("intruder", GOOD, page, setup=code).status_code == 403
    assert accounts(server) == {}


def test_after_five_wrong_codes_the_right_one_is_refused_too(hub):
    server = hub(WITH_CODE)
    page, code = link_in_log(server).groups()
    browser = server.browser()
    for number in range(5):
        assert (
            browser.sign_up("admin", GOOD, page, setup=f"{code[:-2]}{number:02}").status_code == 403
        )
    assert browser.sign_up("admin", GOOD, page, setup=code).status_code == 429
    assert accounts(server) == {}
    assert (server.directory / SETUP_CODE_NAME).exists()


def test_somebody_who_registered_the_name_before_it_was_an_administrators_loses_it(hub):
    server = hub("c.Authenticator.admin_users = set()\n")
    early = server.browser()
    early.sign_up("boss", "the early bird 1")
    server.stop()
    server.config_file.write_text(
        server.config_file.read_text() + WITH_CODE + "c.Authenticator.admin_users = {'boss'}\n"
    )
    server.start()
    page, code = link_in_log(server).groups()
    browser = server.browser()
    browser.sign_up("boss", GOOD, page, setup=code)
    assert browser.get("/hub/authorize").status_code == 200
    early.log_in("boss", "the early bird 1")
    assert not early.is_signed_in()
    other = server.browser()
    other.log_in("boss", GOOD)
    assert other.get("/hub/authorize").status_code == 200


def test_an_administrator_whom_the_list_leaves_out_is_set_up_and_not_signed_in(hub, tmp_path):
    (tmp_path / "list.txt").write_text("bob\n")
    server = hub(WITH_CODE + f'allow_list_file = "{tmp_path}/list.txt"\n')
    page, code = link_in_log(server).groups()
    browser = server.browser()
    answer = browser.sign_up("admin", GOOD, page, setup=code)
    assert "The administrator is set up. Sign in now." in browser.message(answer)
    assert not browser.is_signed_in()


def test_a_password_in_the_settings_makes_the_account_and_no_code(hub):
    server = hub(
        WITH_CODE + "from pydantic import SecretStr\nc.MLHubNativeAuthenticator.admin_password ="
        " SecretStr('quite a good one')\n"
    )
    assert server.admin()
    assert not (server.directory / SETUP_CODE_NAME).exists()
    assert "setup=" not in server.log
    assert "quite a good one" not in server.log

    server.stop()
    server.config_file.write_text(
        server.config_file.read_text().replace("quite a good one", "quite another one")
    )
    server.start()
    assert server.admin("quite a good one"), "an account that exists keeps its password"


def test_a_weak_password_in_the_settings_stops_the_hub_with_a_sentence(hub):
    server = hub(WITH_CODE + "c.MLHubNativeAuthenticator.admin_password = 'admin'\n", wait=False)
    server.wait_until(lambda: not server.process.is_alive(), "the hub to end")
    assert server.process.exitcode != 0
    assert (
        "MLHUB_ADMIN_PASSWORD is refused. The password has 5 characters. Choose one of at least 10."
        in server.log
    )


def test_another_authenticator_prints_no_setup_link(hub):
    server = hub(
        WITH_CODE + "c.JupyterHub.authenticator_class = 'dummy'\nc.Authenticator.allow_all = True\n"
    )
    assert "setup=" not in server.log
    assert not (server.directory / SETUP_CODE_NAME).exists()


def test_a_file_that_holds_no_code_is_replaced_and_a_loose_mode_is_tightened(tmp_path):
    (tmp_path / SETUP_CODE_NAME).write_text("")
    code = ensure_setup_code(tmp_path)
    assert len(code) >= 32
    (tmp_path / SETUP_CODE_NAME).chmod(0o644)
    assert ensure_setup_code(tmp_path) == code
    assert stat.S_IMODE((tmp_path / SETUP_CODE_NAME).stat().st_mode) == 0o600
    assert ensure_setup_code(tmp_path, has_admin=True) is None
    assert list(tmp_path.iterdir()) == []


def test_a_code_file_that_is_a_link_is_not_followed(tmp_path):
    (tmp_path / "elsewhere").write_text("x" * 40)
    (tmp_path / SETUP_CODE_NAME).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigurationError, match="cannot be kept"):
        ensure_setup_code(tmp_path)


def test_where_only_the_cluster_knows_the_address_the_log_names_none(hub):
    server = hub(WITH_CODE + "c.MLHubNativeAuthenticator.public_service = 'one-proxy-public'\n")
    (line,) = [line for line in server.log.splitlines() if "setup=" in line]
    assert "behind the address of the Service one-proxy-public" in line
    assert re.search(r": /hub/signup\?setup=\S{20,}$", line)
    assert "http" not in line


def test_the_address_that_the_site_gives_to_jupyterhub_is_the_links(hub):
    server = hub(
        WITH_CODE
        + "c.MLHubNativeAuthenticator.public_service = 'one-proxy-public'\n"
        + "c.JupyterHub.public_url = 'https://hub.example.org/'\n"
    )
    assert "https://hub.example.org/hub/signup?setup=" in server.log
