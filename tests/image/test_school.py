"""A school behind one address signs in with real accounts, through the real front."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.hub_container import CONFIG, Hub, HubMaker
from tests.support.hub_process import Browser

pytestmark = pytest.mark.full
PUPILS, ARRIVE_WITHIN, PASSWORD = 300, 30.0, "correct horse 42"
ACCOUNTS = CONFIG.replace(
    'authenticator_class = "dummy"', 'authenticator_class = "native"'
).replace("c.Authenticator.allow_all = True", "")
# Registered and authorized before this day. Each hash costs a fourth of the usual time, so that a
# machine with much else to do is through as well; who waits for whom is the same.
REGISTER = """
import bcrypt, sqlite3, sys
hashed = bcrypt.hashpw(sys.argv[1].encode(), bcrypt.gensalt(10))
with sqlite3.connect("/data/jupyterhub.sqlite", timeout=30) as database:
    database.executemany(
        "insert into users_info (username, password, is_authorized) values (?, ?, 1)",
        [(f"pupil{number}", hashed) for number in range(int(sys.argv[2]))],
    )
"""


@pytest.fixture(scope="module")
def hub(make_hub: HubMaker) -> Hub:
    hub = make_hub(ACCOUNTS)
    hub.exec("python", "-c", REGISTER, PASSWORD, str(PUPILS), user="hub")
    return hub


def test_three_hundred_who_arrive_within_half_a_minute_all_get_in(hub, record_property):
    began = time.monotonic()

    def sign_in(number: int) -> float:
        due = began + ARRIVE_WITHIN * number / PUPILS
        time.sleep(max(0.0, due - time.monotonic()))  # they arrive one after the other
        pupil = Browser(hub.url)
        answer = pupil.submit(
            "/hub/login",
            {"username": f"pupil{number}", "password": PASSWORD},
            allow_redirects=False,
            timeout=600,
        )
        assert answer.status_code == 302, (number, answer.status_code, pupil.message(answer))
        assert pupil.is_signed_in(), number
        return time.monotonic() - due

    with ThreadPoolExecutor(PUPILS) as pool:
        seconds = sorted(pool.map(sign_in, range(PUPILS)))
    measure = {
        "median": seconds[PUPILS // 2],
        "last": seconds[-1],
        "all in after": time.monotonic() - began,
    }
    for name, value in measure.items():
        record_property(name, round(value, 1))
    print({name: round(value, 1) for name, value in measure.items()})
