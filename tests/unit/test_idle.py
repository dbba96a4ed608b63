"""When a workspace is stopped that nobody uses, by whose rules, and beside which other culler."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from traitlets.config import Config

from mlhub.cleanup.idle import NAME, check_other_culler
from mlhub.errors import ConfigurationError, SettingsError
from mlhub.policy.file import read_policy
from mlhub.policy.idle import IdleLimits, describe_duration, parse_duration, plan_stop
from mlhub.policy.model import Person, SpawnerDefaults, resolve_settings
from mlhub.settings import Settings
from mlhub.workspaces.idle import make_idle_defaults

ON = Settings(mlhub_cull_enabled=True, mlhub_cull_every=60)
HOUR = 3600.0
POLICY = """
everyone:
  idle: {timeout: 2h, max_age: 3d}
groups:
  course:
    idle: {timeout: 90m}
  long:
    idle: {timeout: unlimited}
users:
  ann:
    idle: {timeout: 5m}
"""


def find_limits(policy, person, defaults=SpawnerDefaults()):  # noqa: B008 - it is frozen
    return IdleLimits.of(resolve_settings(read_policy(policy), person, defaults))


def test_a_service_of_the_sites_of_that_name_is_refused_with_both_places():
    c = Config()
    c.JupyterHub.services = [{"name": NAME, "command": ["site"]}]
    with pytest.raises(ConfigurationError, match=r"MLHUB_CULL_ENABLED.*cull\.enabled.*Keep one"):
        check_other_culler(c, ON)
    check_other_culler(c, Settings())  # the twin: it is the site's alone
    c = Config()
    c.JupyterHub.services.append({"name": NAME, "command": ["site"]})
    with pytest.raises(ConfigurationError, match="Keep one"):
        check_other_culler(c, ON)
    c.JupyterHub.services = [{"name": "own"}]
    check_other_culler(c, ON)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("MLHUB_CULL_TIMEOUT", "59"),
        ("MLHUB_CULL_EVERY", "0"),
        ("MLHUB_CULL_MAX_AGE", "-1"),
        ("MLHUB_CULL_WARNING", "-1"),
        ("MLHUB_CULL_TIMEOUT", "1h"),
        ("MLHUB_CULL_ENABLED", "maybe"),
    ],
)
def test_times_that_mean_nothing_are_refused(variable, value):
    with pytest.raises(SettingsError, match=f"{variable}='{value}'"):
        Settings.from_environment({variable: value})


def test_the_last_rule_that_says_something_decides_for_each_of_the_two_limits():
    ben = find_limits(POLICY, Person("ben"))
    assert (ben.timeout.value, ben.max_age.value) == (2 * HOUR, 72 * HOUR)
    course = find_limits(POLICY, Person("ben", ("course",)))
    assert (course.timeout.value, course.max_age.value) == (1.5 * HOUR, 72 * HOUR)
    assert str(course.timeout.source) == "groups.course.idle.timeout, policy.yaml:6"
    assert find_limits(POLICY, Person("ben", ("course", "long"))).timeout.value == math.inf
    assert find_limits(POLICY, Person("ann", ("course", "long"))).timeout.value == 300


def test_the_variables_hold_where_no_rule_says_anything_and_only_while_they_are_on():
    on = make_idle_defaults(ON)
    limits = find_limits("groups: {course: {idle: {timeout: 2h}}}", Person("ben"), on)
    assert (limits.timeout.value, limits.max_age.value) == (HOUR, math.inf)
    assert limits.timeout.source.rule == "MLHUB_CULL_TIMEOUT"
    assert find_limits(POLICY, Person("ben"), on).timeout.value == 2 * HOUR
    off = make_idle_defaults(Settings(mlhub_cull_timeout=60))
    limits = find_limits("{}", Person("ben"), off)
    assert (limits.timeout.value, limits.max_age.value) == (math.inf, math.inf)
    assert plan_stop(limits, 0, 0) is None
    aged = make_idle_defaults(Settings(mlhub_cull_enabled=True, mlhub_cull_max_age=90_000))
    assert find_limits("{}", Person("ben"), aged).max_age.value == 90_000


@pytest.mark.parametrize(
    ("text", "seconds"), [("90m", 5400), ("2h", 7200), ("3d", 259_200), ("60", 60), ("61 s", 61)]
)
def test_durations_are_read_with_their_units(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "0", "59", "1h30m", "-2h", "2 hours", "1.5h", "9999d", "true"]
)
def test_what_is_no_duration_is_refused_with_line_and_cure(text):
    with pytest.raises(ConfigurationError, match=r"policy\.yaml:2: .*Or write unlimited\."):
        read_policy(f"everyone:\n  idle: {{timeout: '{text}'}}")


def test_durations_are_told_in_words():
    told = [describe_duration(each) for each in (60, 5400, 7200, 86_400, 259_200, 61, math.inf)]
    assert told == [
        "1 minute",
        "90 minutes",
        "2 hours",
        "1 day",
        "3 days",
        "61 seconds",
        "unlimited",
    ]


TIMES = st.integers(0, 10**9)


@given(started=TIMES, used=TIMES, later=st.integers(1, 10**6))
def test_use_puts_a_stop_off_and_never_beyond_the_greatest_age(started, used, later):
    limits = find_limits(POLICY, Person("ben"))
    stop, next_stop = plan_stop(limits, started, used), plan_stop(limits, started, used + later)
    assert stop is not None
    assert next_stop is not None
    assert stop.at <= next_stop.at <= started + limits.max_age.value
    assert stop.at >= min(used + limits.timeout.value, started + limits.max_age.value)


def test_the_warning_comes_early_enough_and_not_before_half_of_the_time_is_over():
    stop = plan_stop(find_limits(POLICY, Person("ben")), 0, 1000)
    assert stop is not None
    assert stop.reason == "nobody has used it for 2 hours"
    assert not stop.is_near(stop.at - 901, 900)
    assert stop.is_near(stop.at - 900, 900)
    assert not stop.is_near(stop.at - 3601, 99_999)
    assert stop.is_near(stop.at - 3600, 99_999)
    old = plan_stop(find_limits(POLICY, Person("ben")), 0, 72 * HOUR)
    assert old is not None
    assert (old.is_idle, old.reason) == (False, "it has run for 3 days, the longest it may")
