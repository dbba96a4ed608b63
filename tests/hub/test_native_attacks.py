"""What a stranger may try against the sign-in pages, and what it gives them: nothing."""

from __future__ import annotations

import contextlib
import socket
import statistics
import time
from concurrent.futures import ThreadPoolExecutor, wait
from urllib.parse import urlencode

import pytest
import requests

from tests.support.hub_process import PRICE, PRICED

GOOD = "correct horse 42"
CONFIG = """
c.MLHubNativeAuthenticator.admin_password = "quite a good one"
c.Authenticator.admin_users = {"admin", "second-admin"}
c.JupyterHub.log_level = "INFO"
"""
UNLOCKED = CONFIG + "c.MLHubNativeAuthenticator.allowed_failed_logins = 0\n"


@pytest.fixture(scope="module")
def server(module_hub):
    return module_hub(CONFIG)


@pytest.fixture(scope="module")
def laden(module_hub):
    """A hub whose passwords are as dear as the product's, so that many of them are a load."""
    return module_hub(CONFIG + PRICED.format(rounds=PRICE))


@pytest.fixture(scope="module")
def unlocked(module_hub):
    """A hub that does not lock names, to measure many attempts on one: most of what they take is
    the hash.
    """
    return module_hub(UNLOCKED + PRICED.format(rounds=PRICE - 2))


def accounts(server):
    return dict(server.query("select username, coalesce(is_authorized, 0) from users_info"))


def test_a_locked_account_is_refused_even_with_the_right_password(server):
    server.person("locked", GOOD, server.admin())
    attacker, person = server.browser(), server.browser()
    for _ in range(5):
        assert attacker.log_in("locked", "a wrong guess").status_code == 403
    refused = person.log_in("locked", GOOD)
    assert refused.status_code == 429
    assert "Try again in 10 minutes" in person.message(refused)
    assert not person.is_signed_in()


def test_a_name_that_does_not_exist_is_locked_alike(server):
    server.person("exists", GOOD, server.admin())
    answers = {}
    for name in ("exists", "exists-not"):
        browser = server.browser()
        answers[name] = [
            (answer.status_code, browser.message(answer))
            for answer in (browser.log_in(name, "a wrong guess") for _ in range(7))
        ]
    assert answers["exists"] == answers["exists-not"]
    assert answers["exists"][-1][0] == 429


def test_guesses_sent_all_at_once_count_like_guesses_sent_one_by_one(laden):
    browser = laden.browser()
    token = browser.xsrf("/hub/login")
    data = {"_xsrf": token, "username": "stormed", "password": "a wrong guess"}

    def guess(_):
        return requests.post(
            laden.url + "/hub/login",
            data=data,
            cookies=browser.cookies,
            timeout=60,
            allow_redirects=False,
        ).status_code

    with ThreadPoolExecutor(20) as pool:
        codes = list(pool.map(guess, range(40)))
    assert codes.count(403) <= 5
    assert codes.count(429) >= 35


def send_sign_in(server, address, name, password, browser=None):
    """Sign in as the proxy hands it on from an address; return the answer and how long it took."""
    browser = browser or server.browser()
    browser.url = f"http://127.0.0.1:{server.hub_port}"
    browser.headers["X-Forwarded-For"] = address
    token = browser.xsrf("/hub/login")
    began = time.perf_counter()
    answer = browser.post(
        "/hub/login",
        data={"_xsrf": token, "username": name, "password": password},
        allow_redirects=False,
    )
    return answer, time.perf_counter() - began


def test_nobody_locks_an_administrator_out_from_afar(server):
    known = server.admin()
    for address in ("198.51.100.1", "198.51.100.2", "2001:db8:1:2::1", "2001:db8:1:2::2"):
        answers = [send_sign_in(server, address, "admin", "a wrong guess")[0] for _ in range(6)]
        assert [answer.status_code for answer in answers][-1] == 429
        assert int(answers[-1].headers["Retry-After"]) > 0
    # The fourth address is in the third one's network, and was locked from the start.
    assert [answer.status_code for answer in answers] == [429] * 6
    assert send_sign_in(server, "203.0.113.9", "admin", "quite a good one")[0].status_code == 302
    assert send_sign_in(server, "198.51.100.1", "admin", "quite a good one")[0].status_code == 429
    # A browser in which the administrator has signed in before is let through wherever it is.
    known.cookies.clear("127.0.0.1", "/hub/")
    assert (
        send_sign_in(server, "198.51.100.1", "admin", "quite a good one", known)[0].status_code
        == 302
    )


def test_a_known_browser_is_known_by_a_cookie_that_only_the_sign_in_page_gets_and_nobody_makes(
    server,
):
    browser = server.browser()
    page = browser.submit(
        "/hub/login", {"username": "admin", "password": "quite a good one"}, allow_redirects=False
    )
    made = next(
        value
        for value in page.raw.headers.getlist("Set-Cookie")
        if value.startswith("mlhub-known-browser=")
    )
    assert "HttpOnly" in made
    assert "Path=/hub/login;" in made
    assert "SameSite=Lax" in made
    forged = server.browser()
    mallory = server.person("mallory", GOOD, server.admin())
    for value in (
        "x y z",
        next(cookie.value for cookie in mallory.cookies if cookie.name == "mlhub-known-browser"),
    ):
        forged.cookies.set("mlhub-known-browser", value, domain="127.0.0.1", path="/hub/login")
        answers = [
            send_sign_in(server, "198.51.100.77", "admin", "a wrong guess", forged)[0].status_code
            for _ in range(3)
        ]
    assert answers[-1] == 429  # counted for the address, as those of the first cookie were


def test_a_flood_of_names_from_one_address_makes_that_address_wait_and_nobody_else(laden):
    alone = statistics.median(
        send_sign_in(laden, "203.0.113.20", "nobody", "a wrong guess")[1] for _ in range(3)
    )
    browser = laden.browser()
    token = browser.xsrf("/hub/login")
    cookies = "; ".join(f"{cookie.name}={cookie.value}" for cookie in browser.cookies)
    with contextlib.ExitStack() as flood:
        for number in range(60):
            body = urlencode(
                {"_xsrf": token, "username": f"random-{number}", "password": "a wrong guess"}
            )
            head = (
                "POST /hub/login HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Forwarded-For:"
                f" 127.0.0.1\r\nCookie: {cookies}\r\n"
            )
            head += (
                f"User-Agent: {requests.utils.default_user_agent()}\r\nContent-Type:"
                " application/x-www-form-urlencoded\r\n"
            )
            attacker = flood.enter_context(
                socket.create_connection(("127.0.0.1", laden.hub_port), 30)
            )
            attacker.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        laden.wait_until(lambda: "Failed login for 'random-" in laden.log, "the flood")
        answer, seconds = send_sign_in(laden, "203.0.113.30", "admin", "quite a good one")
        behind = 60 - laden.log.count("Failed login for 'random-")
    assert answer.status_code == 302
    # The one that is being served, one more of the flood, and what the machine does beside: not all
    # that wait.
    assert seconds < 8 * alone
    assert behind > 30
    # Whoever has hung up costs no hash.
    laden.wait_until(
        lambda: laden.log.count("Failed login for 'random-") == 60,
        "the rest of the flood",
        10 * alone,
    )


def test_a_lock_ends_by_itself_and_a_success_wipes_the_count(hub):
    server = hub(CONFIG + "c.MLHubNativeAuthenticator.seconds_before_next_try = 3\n")
    browser = server.browser()
    for _ in range(2):
        for _ in range(4):
            browser.log_in("admin", "a wrong guess")
        server.admin()
    for _ in range(5):
        browser.log_in("admin", "a wrong guess")
    assert browser.log_in("admin", "quite a good one").status_code == 429
    server.wait_until(
        lambda: browser.log_in("admin", "quite a good one").status_code != 429,
        "the lock to end",
        15,
    )
    assert browser.is_signed_in()


def test_signing_up_answers_alike_for_free_taken_and_reserved_names(unlocked):
    unlocked.browser().sign_up("taken", GOOD)
    answers = set()
    for name in ("free-name", "taken", "admin", "second-admin", "SECOND-admin"):
        browser = unlocked.browser()
        answer = browser.sign_up(name, "another good 77")
        answers.add((answer.status_code, browser.message(answer)))
    assert len(answers) == 1
    browser = unlocked.browser()
    assert "not been authorized" in browser.message(browser.log_in("taken", GOOD))


def test_nobody_grabs_an_administrators_name(server):
    for name in ("second-admin", "Second-Admin"):
        server.browser().sign_up(name, GOOD)
    server.browser().sign_up("second-admin", GOOD, setup="guessed-code-guessed-code")
    assert "second-admin" not in accounts(server)
    browser = server.browser()
    browser.log_in("second-admin", GOOD)
    assert not browser.is_signed_in()


def test_with_open_signup_nobody_grabs_the_name_of_somebody_the_hub_knows(hub):
    server = hub(CONFIG + "c.NativeAuthenticator.open_signup = True\n")
    admin = server.admin()
    admin.api("POST", "users/known")
    admin.api("POST", "users/boss", json={"admin": True})
    for name in ("newcomer", "known", "boss", "second-admin"):
        server.browser().sign_up(name, GOOD)
    assert accounts(server) == {"admin": 1, "newcomer": 1, "known": 0}
    newcomer = server.browser()
    newcomer.log_in("newcomer", GOOD)
    assert newcomer.is_signed_in()


def _seconds(browser, *sends, count=9):
    """Return the median seconds of each kind of request. They take turns, so that what the machine
    does besides meets all of them.
    """
    token = browser.xsrf("/hub/login")
    taken = [[] for _ in sends]
    for number in range(count):
        for send, seconds in zip(sends, taken, strict=True):
            start = time.perf_counter()
            send(browser, token, number)
            seconds.append(time.perf_counter() - start)
    return [statistics.median(each) for each in taken]


def test_the_time_of_a_failed_sign_in_does_not_tell_who_has_an_account(unlocked):
    browser = unlocked.browser()
    browser.sign_up("unauthorized", GOOD)

    def guess(name):
        return lambda browser, token, _: browser.post(
            "/hub/login", data={"_xsrf": token, "username": name, "password": "a wrong guess"}
        )

    known, waiting, unknown = _seconds(
        browser, *map(guess, ("admin", "unauthorized", "no-such-name"))
    )
    assert 0.5 < known / unknown < 2
    assert 0.5 < waiting / unknown < 2


def test_the_time_of_a_sign_up_does_not_tell_whose_name_is_taken(unlocked):
    def sign_up(name):
        fields = {"signup_password": GOOD, "signup_password_confirmation": GOOD}
        return lambda browser, token, number: browser.post(
            "/hub/signup", data={"_xsrf": token, "username": name.format(number), **fields}
        )

    taken, free = _seconds(unlocked.browser(), *map(sign_up, ("admin", "never-seen-{}")))
    assert 0.5 < taken / free < 2


def test_the_hub_answers_others_while_many_passwords_are_hashed(hub):
    server = hub(UNLOCKED + PRICED.format(rounds=PRICE))
    browser = server.browser()
    token = browser.xsrf("/hub/login")
    data = {"_xsrf": token, "username": "admin", "password": "a wrong guess"}

    def guess(_=None):
        start = time.perf_counter()
        requests.post(server.url + "/hub/login", data=data, cookies=browser.cookies, timeout=60)
        return time.perf_counter() - start

    one_bcrypt = statistics.median(guess() for _ in range(3))
    answers = []
    with ThreadPoolExecutor(8) as pool, requests.Session() as session:
        logins = [pool.submit(guess) for _ in range(8)]
        while wait(logins, timeout=0.02).not_done:
            start = time.perf_counter()
            assert session.get(server.url + "/hub/health", timeout=60).status_code == 200
            answers.append(time.perf_counter() - start)
    assert len(answers) > 20
    p95 = sorted(answers)[int(len(answers) * 0.95)]
    assert p95 < one_bcrypt / 2, (p95, one_bcrypt)


def test_a_flood_of_huge_names_neither_fills_the_log_nor_breaks_the_hub(server):
    browser = server.browser()
    token = browser.xsrf("/hub/login")
    before = server.log_file.stat().st_size
    for page in ("login", "signup"):
        for _ in range(20):
            fields = {
                "_xsrf": token,
                "username": "x" * 2**20,
                "password": GOOD,
                "signup_password": GOOD,
            }
            answer = browser.post(f"/hub/{page}", data=fields)
            assert answer.status_code == 413
            assert len(answer.content) < 50_000
    for _ in range(20):
        answer = browser.post(
            "/hub/login", data={"_xsrf": token, "username": "y" * 60_000, "password": GOOD}
        )
        assert answer.status_code == 403
        assert len(answer.content) < 50_000
    assert server.log_file.stat().st_size - before < 60 * 1000


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"username=a",
        b"password=b",
        b"username=&password=",
        b"username=%ff%fe&password=x",
        b"username=%ED%A0%80&password=x",
        b"username=%00&password=%00",
        b"username=a&username=b&password=c&password=d",
        b"2fa=%F0%9F%92%A9&username=admin&password=a-wrong-guess",
        b"username=..%2f..&password=x",
        b"signup_password=x",
        b"username=a&signup_password=%ff&signup_password_confirmation=%ff",
        b"username=a&signup_password=aaa&signup_password_confirmation=bbb&setup=%00",
        "username=İI\u0307&password=x".encode(),
    ],
)
def test_a_malformed_form_is_refused_and_never_an_error_of_the_hub(server, body):
    browser = server.browser()
    token = browser.xsrf("/hub/login").encode()
    for page in (
        "login",
        "signup",
        "change-password",
        "authorize/x",
        "discard/x",
        "confirm/x",
        "confirm/%00",
    ):
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = browser.post(
            f"/hub/{page}",
            data=b"_xsrf=" + token + b"&" + body,
            headers=headers,
            allow_redirects=False,
        )
        assert 400 <= answer.status_code < 500, (page, answer.status_code)


@pytest.mark.parametrize(
    "target",
    [
        "//evil.test",
        "/\\evil.test",
        "https://evil.test",
        "/%09/evil.test",
        "http:evil.test",
        "///evil.test",
        "javascript:alert(1)",
    ],
)
def test_after_signing_in_nobody_is_led_to_another_site(server, target):
    browser = server.browser()
    page = f"/hub/login?next={requests.utils.quote(target, safe='')}"
    answer = browser.submit(
        page, {"username": "admin", "password": "quite a good one"}, allow_redirects=False
    )
    assert answer.status_code == 302
    assert answer.headers["Location"].startswith("/")
    assert not answer.headers["Location"].startswith(("//", "/\\"))


@pytest.mark.parametrize("target", ["/hub/token", "/hub/home?a=//b", "/user/admin/lab/tree/c%20d"])
def test_after_signing_in_one_is_led_on_within_the_site(server, target):
    page = f"/hub/login?next={requests.utils.quote(target, safe='')}"
    fields = {"username": "admin", "password": "quite a good one"}
    answer = server.browser().submit(page, fields, allow_redirects=False)
    assert (answer.status_code, answer.headers["Location"]) == (302, target)


def test_sign_ups_that_nobody_looks_through_are_limited(hub):
    server = hub(CONFIG + "c.MLHubNativeAuthenticator.max_pending_signups = 2\n")
    answers = [
        server.browser().sign_up(f"pending-{number}", GOOD).status_code for number in range(4)
    ]
    assert answers == [200, 200, 503, 503]
    assert sorted(accounts(server)) == ["admin", "pending-0", "pending-1"]


def test_with_signing_up_switched_off_the_page_is_gone(hub):
    server = hub(CONFIG + "c.NativeAuthenticator.enable_signup = False\n")
    browser = server.browser()
    assert browser.get("/hub/signup").status_code == 404
    assert "Sign up" not in browser.get("/hub/login").text
    token = browser.xsrf("/hub/login")
    fields = {
        "_xsrf": token,
        "username": "late",
        "signup_password": GOOD,
        "signup_password_confirmation": GOOD,
    }
    assert browser.post("/hub/signup", data=fields).status_code == 404
    assert "late" not in accounts(server)


def test_a_site_that_names_its_allowed_users_is_obeyed(hub):
    server = hub(CONFIG + "c.Authenticator.allowed_users = {'listed'}\n")
    admin = server.admin()
    listed = server.person("listed", GOOD, admin)
    assert listed.is_signed_in()
    other = server.browser()
    other.sign_up("unlisted", GOOD)
    admin.manage("authorize", "unlisted", action="authorize")
    other.log_in("unlisted", GOOD)
    assert not other.is_signed_in()
