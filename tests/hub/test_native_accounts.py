"""Sign up, be authorized, sign in, change the password, be put out again."""

from __future__ import annotations

import html
import re
import sqlite3

import bcrypt
import onetimepass
import pytest
import requests

GOOD = "correct horse 42"
CONFIG = """
c.MLHubNativeAuthenticator.admin_password = "quite a good one"
c.NativeAuthenticator.seconds_before_next_try = 600
c.JupyterHub.load_roles = [{"name": "user-manager", "scopes": ["admin:users", "admin-ui"], \
"users": ["manager"]}]
"""


@pytest.fixture(scope="module")
def server(module_hub):
    return module_hub(CONFIG)


@pytest.fixture(scope="module")
def admin(server):
    return server.admin()


def accounts(server):
    return dict(server.query("select username, coalesce(is_authorized, 0) from users_info"))


def test_somebody_signs_up_is_authorized_and_signs_in(server, admin):
    person = server.browser()
    assert "received" in person.message(person.sign_up("Ana.Müller@example.org", GOOD))
    refused = person.log_in("ana.müller@example.org", GOOD)
    assert refused.status_code == 403
    assert "not been authorized" in person.message(refused)
    assert "ana.müller@example.org" in admin.get("/hub/authorize").text
    assert (
        admin.manage("authorize", "ana.müller@example.org", action="authorize").status_code == 302
    )
    person.log_in("ANA.Müller@example.org", GOOD)
    assert person.is_signed_in()


@pytest.mark.parametrize(
    "name",
    [
        "o'brien",
        "a?b#c",
        "100%41",
        "<svg><b>",
        "日本",
        "a&b;c",
        '"quoted"',
        "back\\slash",
        "x" * 128,
    ],
)
def test_an_odd_name_goes_all_the_way(server, admin, name):
    person = server.person(name, GOOD, admin)
    assert accounts(server)[name] == 1
    assert person.get("/hub/change-password").status_code == 200
    page = admin.get(f"/hub/change-password/{requests.utils.quote(name, safe='')}")
    assert page.status_code == 200
    assert "<svg>" not in admin.get("/hub/authorize").text


def test_a_name_that_looks_like_a_latin_one_is_marked_for_the_administrator(server, admin):
    for name in ("\u0430\u0441\u0435", "\u0430\u043d\u043d\u0430"):  # "ace" and Anna, in Cyrillic
        server.person(name, GOOD, admin)
    page = admin.get("/hub/authorize").text
    assert page.count("is written in Cyrillic letters that look like Latin ones") == 1


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("", "username"),
        ("a b", "space"),
        ("a/b", "slash"),
        ("x" * 129, "129 characters"),
        ("zero\u200bwidth", "cannot be seen"),
        ("\u0430dmin", "mixes Cyrillic and Latin letters"),
        ("\u202ereversed", "cannot be seen"),
        ("\u212aim", "look like"),
        ("fu\uff4c\uff4c", "look like"),
        ("..", "dots"),
        ("nul\0", "space"),
    ],
)
def test_a_name_that_could_be_mistaken_is_refused_with_a_sentence(server, name, word):
    before, browser = accounts(server), server.browser()
    answer = browser.sign_up(name, GOOD)
    assert answer.status_code == 400
    assert word in browser.message(answer)
    assert accounts(server) == before


@pytest.mark.parametrize(
    ("password", "word"),
    [
        ("short", "at least 10"),
        ("password123", "most common"),
        ("aaaaaaaaaaaa", "less than four"),
        ("weakling-bob", "made of the username"),
        ("ä" * 20 + "bcdefghijklmnopq" * 3, "at most 72 bytes"),
    ],
)
def test_a_weak_or_overlong_password_is_refused_with_a_sentence(server, password, word):
    browser = server.browser()
    answer = browser.sign_up("weakling-bob", password)
    assert answer.status_code == 400
    assert word in browser.message(answer)
    assert "weakling-bob" not in accounts(server)


def test_a_password_of_72_bytes_works_and_a_longer_one_never_crashes_sign_in(server, admin):
    password = "0123456789abcdef" * 4 + "ÄÖÜß"
    server.person("long", password, admin)
    browser = server.browser()
    assert browser.log_in("long", "y" * 5000).status_code == 403
    assert browser.log_in("long", "nul\0nul\0nul").status_code == 403


def test_a_hash_made_by_an_older_bcrypt_from_a_longer_password_still_opens_the_account(server):
    password = "z" * 30 + "0123456789" * 6  # 90 bytes, of which older versions looked at 72
    with sqlite3.connect(f"{server.directory}/jupyterhub.sqlite", timeout=30) as database:
        row = ("veteran", bcrypt.hashpw(password.encode()[:72], bcrypt.gensalt(10)), True, False)
        database.execute(
            "insert into users_info (username, password, is_authorized, has_2fa) values "
            "(?, ?, ?, ?)",
            row,
        )
    browser = server.browser()
    browser.log_in("veteran", password)
    assert browser.is_signed_in()


def test_opening_authorize_or_discard_changes_nothing(server, admin):
    server.browser().sign_up("patient", GOOD)
    before = accounts(server)
    for path in (
        "authorize",
        "authorize/patient",
        "discard/patient",
        "delete-person/patient",
        "unlock/patient",
        "authorize/patient?action=authorize",
        "authorize/patient?action=withdraw",
        "change-password/patient?new_password=x",
    ):
        assert admin.get(f"/hub/{path}").status_code == 200
    assert accounts(server) == before
    admin.manage("discard", "patient")
    assert "patient" not in accounts(server)


@pytest.mark.parametrize("mode", [None, "navigate", "no-cors", "cors", "same-origin", "websocket"])
def test_every_change_without_an_xsrf_token_is_refused(server, admin, mode):
    server.browser().sign_up("xsrf-victim", GOOD)
    before = accounts(server)
    headers = {"Sec-Fetch-Mode": mode, "Sec-Fetch-Site": "cross-site"} if mode else {}
    fields = {
        "action": "authorize",
        "new_password": GOOD,
        "new_password_confirmation": GOOD,
        "old_password": "quite a good one",
    }
    for path in (
        "authorize/xsrf-victim",
        "discard/xsrf-victim",
        "delete-person/xsrf-victim",
        "unlock/xsrf-victim",
        "change-password",
        "change-password/xsrf-victim",
    ):
        for token in ({}, {"_xsrf": "wrong"}):
            if mode == "websocket":
                headers = {**headers, "Sec-Fetch-Mode": "nested-navigate"}
            assert (
                admin.post(
                    f"/hub/{path}", data={**fields, **token}, headers=headers, allow_redirects=False
                ).status_code
                == 403
            )
    stranger = server.browser()
    stranger.get("/hub/signup")
    signup = {"username": "forged", "signup_password": GOOD, "signup_password_confirmation": GOOD}
    assert stranger.post("/hub/signup", data=signup, headers=headers).status_code == 403
    assert (
        stranger.post(
            "/hub/login",
            data={"username": "admin", "password": "quite a good one"},
            headers=headers,
        ).status_code
        == 403
    )
    assert not stranger.is_signed_in()
    assert accounts(server) == before


def test_strangers_and_ordinary_people_see_none_of_the_administrators_pages(server, admin):
    server.browser().sign_up("waiting", GOOD)
    ordinary, stranger = server.person("ordinary", GOOD, admin), server.browser()
    for path in (
        "authorize",
        "authorize/waiting",
        "authorize/waiting?action=withdraw",
        "discard/waiting",
        "delete-person/waiting",
        "unlock/waiting",
        "change-password/waiting",
    ):
        assert ordinary.get(f"/hub/{path}").status_code == 403
        answer = stranger.get(f"/hub/{path}", allow_redirects=False)
        assert answer.status_code == 302
        assert "/hub/login" in answer.headers["Location"]
    assert ordinary.manage("authorize", "waiting", action="authorize").status_code == 403
    for path in ("discard", "delete-person", "unlock"):
        assert ordinary.manage(path, "waiting").status_code == 403
    assert accounts(server)["waiting"] == 0


def test_who_may_manage_users_can_not_become_an_administrator_through_passwords(server, admin):
    manager = server.person("manager", GOOD, admin)
    server.browser().sign_up("newcomer", GOOD)
    assert manager.manage("authorize", "newcomer", action="authorize").status_code == 302
    for name in ("admin", "newcomer"):
        answer = manager.manage(
            "change-password", name, new_password=GOOD, new_password_confirmation=GOOD
        )
        assert answer.status_code == 403
    assert manager.manage("authorize", "admin", action="withdraw").status_code == 403
    assert server.admin()


def test_unauthorizing_somebody_ends_their_session_and_their_tokens(server, admin):
    person = server.person("leaver", GOOD, admin)
    token = person.api(
        "POST", "users/leaver/tokens", json={"note": "Server at /user/leaver/"}
    ).json()["token"]
    bearer = {"Authorization": f"token {token}"}
    assert requests.get(server.url + "/hub/api/user", headers=bearer, timeout=30).status_code == 200
    assert admin.manage("authorize", "leaver", action="withdraw").status_code == 302
    assert not person.is_signed_in()
    assert requests.get(server.url + "/hub/api/user", headers=bearer, timeout=30).status_code == 403
    assert "not been authorized" in person.message(person.log_in("leaver", GOOD))
    assert admin.manage("authorize", "leaver", action="nonsense").status_code == 400
    assert admin.manage("authorize", "nobody-of-that-name", action="authorize").status_code == 404


def read_text(page):
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page.text)).split())


def test_what_puts_somebody_out_asks_first_and_is_told_afterwards(server, admin):
    server.browser().sign_up("asked", GOOD)

    def press(path, **fields):
        answer = admin.submit("/hub/change-password", fields, to=f"/hub/{path}")
        return admin.message(answer)

    assert "asked may sign in now." in press("authorize/asked", action="authorize")
    question = admin.get("/hub/authorize/asked?action=withdraw")
    assert "Unauthorize asked?" in read_text(question)
    assert "Password, SSH keys, workspaces and files are kept" in read_text(question)
    assert 'name="action" value="withdraw"' in question.text
    assert accounts(server)["asked"] == 1, "a question changes nothing"
    assert "asked may not sign in any more." in press("authorize/asked", action="withdraw")
    # What is told is how things are, whoever made the link.
    false = admin.get("/hub/authorize?done=authorize&name=asked")
    assert "asked may sign in now." not in read_text(false)
    assert "asked would have to sign up again." in read_text(admin.get("/hub/discard/asked"))
    assert "The sign-up of asked is discarded." in press("discard/asked")
    assert "asked" not in accounts(server)


def test_a_person_is_deleted_after_what_will_happen_was_told(server, admin):
    person = server.person("going", GOOD, admin)
    page = admin.get("/hub/delete-person/going")
    assert "Delete going?" in read_text(page)
    assert "There is no way back." in read_text(page)
    assert person.is_signed_in()
    assert person.get("/hub/delete-person/going").status_code == 403
    assert admin.manage("delete-person", "admin").status_code == 400
    assert admin.manage("delete-person", "nobody-of-that-name").status_code == 404
    answer = admin.submit("/hub/delete-person/going", {})
    assert "going is deleted." in admin.message(answer)
    assert "going" not in accounts(server)
    assert not person.is_signed_in()
    assert admin.api("GET", "users/going").status_code == 404


def test_who_is_locked_out_is_shown_and_let_in_again(server, admin):
    server.person("clumsy", GOOD, admin)
    browser = server.browser()
    for _ in range(5):
        assert browser.log_in("clumsy", "not the right one").status_code == 403
    assert browser.log_in("clumsy", GOOD).status_code == 429
    page = read_text(admin.get("/hub/authorize?search=clumsy"))
    assert "Too many wrong passwords: locked for 10 min" in page
    answer = admin.submit("/hub/authorize?search=clumsy", {}, to="/hub/unlock/clumsy")
    assert "clumsy may try to sign in again now." in admin.message(answer)
    assert "locked for" not in read_text(admin.get("/hub/authorize?search=clumsy"))
    browser.log_in("clumsy", GOOD)
    assert browser.is_signed_in()


@pytest.mark.parametrize("name", ["keys", "items"])
def test_a_name_that_every_mapping_knows_is_somebodys_like_any_other(server, admin, name):
    server.person(name, GOOD, admin)
    answer = admin.get(f"/hub/authorize?search={name}")
    assert answer.status_code == 200
    assert f"Unauthorize {name}" in read_text(answer)
    assert "locked for" not in read_text(answer)


def test_an_administrator_neither_locks_himself_out_nor_discards_an_authorized_account(
    server, admin
):
    server.person("kept", GOOD, admin)
    assert admin.manage("authorize", "admin", action="withdraw").status_code == 400
    assert admin.manage("discard", "kept").status_code == 409
    assert accounts(server)["kept"] == accounts(server)["admin"] == 1


def test_a_deleted_user_has_no_account_left(server, admin):
    person = server.person("deleted", GOOD, admin)
    assert admin.api("DELETE", "users/deleted").status_code == 204
    assert "deleted" not in accounts(server)
    assert not person.is_signed_in()
    person.log_in("deleted", GOOD)
    assert not person.is_signed_in()


def test_people_change_their_own_password_and_their_other_sessions_end(server, admin):
    person, elsewhere = server.person("changer", GOOD, admin), server.browser()
    elsewhere.log_in("changer", GOOD)
    new = "another good 77"
    page = "/hub/change-password"
    wrong = person.submit(
        page,
        {"old_password": "not this one", "new_password": new, "new_password_confirmation": new},
    )
    assert "current password is wrong" in person.message(wrong)
    differ = person.submit(
        page, {"old_password": GOOD, "new_password": new, "new_password_confirmation": new + "x"}
    )
    assert "differ" in person.message(differ)
    assert elsewhere.is_signed_in()
    answer = person.submit(
        page, {"old_password": GOOD, "new_password": new, "new_password_confirmation": new}
    )
    assert person.is_signed_in()
    # Once more, from the page that answered.
    token = html.unescape(re.search(r'name="_xsrf" value="([^"]*)"', answer.text)[1])
    newer = {"old_password": new, "new_password": "newer 88 yet", "_xsrf": token}
    answer = person.post(page, data={**newer, "new_password_confirmation": "differs"})
    assert "differ" in person.message(answer)
    assert not elsewhere.is_signed_in()
    elsewhere.log_in("changer", GOOD)
    assert not elsewhere.is_signed_in()
    elsewhere.log_in("changer", new)
    assert elsewhere.is_signed_in()


def test_an_administrator_gives_a_password_to_somebody_whom_he_added(server, admin):
    assert admin.api("POST", "users/invited").status_code == 201
    fields = {"new_password": GOOD, "new_password_confirmation": GOOD}
    assert admin.manage("change-password", "never-heard-of", **fields).status_code == 404
    assert admin.manage("change-password", "invited", **fields).status_code == 200
    person = server.browser()
    person.log_in("invited", GOOD)
    assert person.is_signed_in()


def test_our_pages_carry_no_inline_script_of_their_own_and_stay_out_of_caches(server):
    page = server.browser().get("/hub/login")
    assert page.headers["Cache-Control"] == "no-store"
    assert page.headers["Referrer-Policy"] == "no-referrer"
    # The frame around it is JupyterHub's and brings a script of its own.
    main = page.text[page.text.index("<main") : page.text.index("</main>")]
    assert "<script" not in main
    assert " on" + "click=" not in main
    script = server.browser().get("/hub/mlhub-static/mlhub/accounts.js")
    assert script.status_code == 200
    assert "javascript" in script.headers["Content-Type"]


def test_two_factor_authentication_asks_for_a_code_that_works_once(hub):
    server = hub(CONFIG + "c.NativeAuthenticator.allow_2fa = True\n")
    admin, person = server.admin(), server.browser()
    answer = person.sign_up("careful", GOOD, **{"2fa": "2fa"})
    secret = re.search(r"<code>(\w{16})</code>", answer.text).group(1)
    taken = server.browser().sign_up("careful", GOOD, **{"2fa": "2fa"})
    assert re.search(r"<code>\w{16}</code>", taken.text), "a taken name looks alike"
    admin.manage("authorize", "careful", action="authorize")
    for code in ({}, {"2fa": ""}, {"2fa": "000000x"}, {"2fa": "٣٣٣٣٣٣"}):
        assert person.log_in("careful", GOOD, **code).status_code == 403
    code = onetimepass.get_totp(secret, as_string=True).decode()
    person.log_in("careful", GOOD, **{"2fa": code})
    assert person.is_signed_in()
    replay = server.browser()
    replay.log_in("careful", GOOD, **{"2fa": code})
    assert not replay.is_signed_in()


SELF_APPROVAL = """
from nativeauthenticator import NativeAuthenticator

class SiteAuthenticator(NativeAuthenticator):
    def send_approval_email(self, dest, url):
        Path("mail.txt").write_text(f"{dest} {url}")

c.JupyterHub.authenticator_class = SiteAuthenticator
c.NativeAuthenticator.allow_self_approval_for = r"[^@]+@example\\.org"
c.NativeAuthenticator.secret_key = "a secret for the tests"
"""


def test_people_of_an_approved_domain_let_themselves_in_by_mail_and_a_click(hub):
    server = hub(CONFIG + SELF_APPROVAL)
    mail = server.directory / "mail.txt"
    outsider, person = server.browser(), server.browser()
    outsider.sign_up("outsider", GOOD, email="outsider@example.org.evil.net")
    assert "Enter your e-mail" in person.message(person.sign_up("insider", GOOD))
    person.sign_up("insider", GOOD, email="insider@example.org")
    server.wait_until(mail.exists, "the mail", 10)
    address, link = mail.read_text().split()
    assert address == "insider@example.org"
    assert person.get(link).status_code == 200
    assert accounts(server)["insider"] == 0, "a mail scanner that opens the link authorizes nobody"
    assert person.get(link[:-1] + ("a" if link[-1] != "a" else "b")).status_code == 404
    assert "authorized" in person.message(person.submit(link, {}))
    person.log_in("insider", GOOD)
    assert person.is_signed_in()
    assert accounts(server)["outsider"] == 0


def test_a_session_ends_when_the_account_behind_it_is_gone(hub):
    server = hub(CONFIG + "c.Authenticator.auth_refresh_age = 1\n")
    person = server.person("vanishing", GOOD, server.admin())
    with sqlite3.connect(f"{server.directory}/jupyterhub.sqlite", timeout=30) as database:
        database.execute("delete from users_info where username = 'vanishing'")
    server.wait_until(lambda: not person.is_signed_in(), "the session to end", 15)
