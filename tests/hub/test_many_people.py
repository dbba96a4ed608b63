"""The pages of a hub with ten thousand people in a hundred groups, of whom a thousand have
something running.

How long each takes is measured and written down, not judged: machines that run tests are busy.
"""

from __future__ import annotations

import json
import re
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

PEOPLE, GROUPS, RUNNING, DAYS, TIMES = 10_000, 100, 1_000, 30, 40
ARTIFACTS = Path(__file__).resolve().parents[1] / "artifacts"
CONFIG = """
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.Authenticator.admin_users = {"boss"}
c.JupyterHub.concurrent_spawn_limit = 0
c.JupyterHub.usage_seconds = 5
c.JupyterHub.authenticate_prometheus = False
"""
POLICY = "everyone: {sharing: true, total: {servers: 4}, cpu_limit: {default: 1}}\n"
# What each page may show at most, as rows of its tables; None where it has no such rows.
PAGES = {
    "boss": (
        "admin",
        "admin?search=many-09",
        "admin/usage",
        "admin/usage?by=group",
        "usage?group=group-7",
        "record",
    ),
    "many-00000": ("home", "usage?days=365", "workspace/many-00000", "share/many-00000", "record"),
}
MOST_ROWS = 51  # the heads of the columns are one


@pytest.fixture(scope="module")
def hub(module_workspace_hub):
    """Return a hub with all of them."""
    hub = module_workspace_hub(CONFIG, policy=POLICY)
    add_people(hub.directory / "jupyterhub.sqlite")
    with ThreadPoolExecutor(8) as pool:
        names = [f"many-{number:05}" for number in range(RUNNING)]
        codes = set(pool.map(lambda name: hub.service().start(name, {}).status_code, names))
    assert codes <= {201, 202}
    return hub


def add_people(file: Path) -> None:
    """Write people, a workspace of each, and what they had on thirty days."""
    today = datetime.now(UTC).date()
    with sqlite3.connect(file, timeout=60) as database:
        (first,) = database.execute("select coalesce(max(id), 0) + 1000 from users").fetchone()
        people = [(first + number, f"many-{number:05}") for number in range(PEOPLE)]
        database.executemany(
            "insert into users (id, name, admin, cookie_id, created)"
            " values (?, ?, 0, ?, '2026-01-01 00:00:00.000000')",
            [(number, name, name) for number, name in people],
        )
        database.executemany(
            "insert into groups (id, name) values (?, ?)",
            [(1 + number, f"group-{number}") for number in range(GROUPS)],
        )
        database.executemany(
            "insert into user_group_map (user_id, group_id) values (?, ?)",
            [(number, 1 + (number + more) % GROUPS) for number, _ in people for more in (0, 7)],
        )
        database.executemany(
            "insert into mlhub_people (key, user_id, name, created)"
            " values (?, ?, ?, '2026-01-01 00:00:00.000000')",
            [(f"key-{number}", number, name) for number, name in people],
        )
        database.executemany(
            "insert into spawners (user_id, name, state, last_activity)"
            " values (?, '', ?, '2026-01-01 00:00:00.000000')",
            [(number, json.dumps({"expires_at": 4_000_000_000})) for number, _ in people],
        )
        database.executemany(
            "insert into mlhub_usage (day, person, name, hours, cpu_hours, memory_hours,"
            " gpu_hours, disk) values (?, ?, ?, 1, 1, 1, 0, 1)",
            [
                ((today - timedelta(days=day)).isoformat(), f"key-{number}", name)
                for number, name in people
                for day in range(1, DAYS)
            ],
        )


def read_milliseconds(hub, start: int) -> list[float]:
    """Read how long the hub itself took for each page, from its log."""
    found = re.findall(r" 200 GET /hub/\S+ \([^)]*\) ([\d.]+)ms", hub.log[start:])
    return sorted(map(float, found))


def read_stalls(hub) -> dict[str, float]:
    """Read how often the event loop was held up for how long."""
    text = hub.service().request("GET", "../metrics").text
    assert "event_loop_interval_seconds_bucket" in text
    found = re.findall(r'event_loop_interval_seconds_bucket\{le="([\d.]+)"\} ([\d.]+)', text)
    return {bound: float(count) for bound, count in found}


@pytest.mark.full
def test_no_page_shows_more_than_one_screen_of_rows_to_ten_thousand_people(hub):
    measured = {}
    for name, paths in PAGES.items():
        browser = hub.browser()
        browser.log_in(name, "anything")
        for path in paths:
            start, before = len(hub.log), read_stalls(hub)
            for _ in range(TIMES):
                page = browser.get(f"/hub/{path}")
                assert page.status_code == 200, path
                assert page.text.count("<tr") <= MOST_ROWS, path
            times, after = read_milliseconds(hub, start), read_stalls(hub)
            measured[path] = {
                "p50_ms": times[len(times) // 2],
                "p95_ms": times[int(len(times) * 0.95)],
                "bytes": len(page.content),
                "loop": {bound: after[bound] - before.get(bound, 0) for bound in after},
            }
    ARTIFACTS.mkdir(exist_ok=True)
    (ARTIFACTS / "many-people.json").write_text(json.dumps(measured, indent=2))
    for path, each in measured.items():
        print(f"{path:<28} p50 {each['p50_ms']:7.1f} ms  p95 {each['p95_ms']:7.1f} ms")
