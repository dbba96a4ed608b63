"""Schedules: how they are written, what happens when, across every change of the clocks, and who
may choose which.
"""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mlhub.errors import ConfigurationError, SettingsError
from mlhub.options.model import FieldsError, WorkspaceOptions
from mlhub.options.schedule import (
    EVERY_DAY,
    EventKind,
    Schedule,
    find_next,
    list_events,
    parse_schedule,
)
from mlhub.policy.circumstances import Circumstances
from mlhub.policy.decide import decide
from mlhub.policy.file import read_policy
from mlhub.policy.model import Person, SpawnerDefaults
from mlhub.policy.schedule import choose_schedule, find_schedule, list_due_rules
from mlhub.settings import Settings

CLASS = "mon-fri 09:00-18:00 Europe/Berlin"
# With changes of the clocks in spring and autumn, at midnight, by half an hour, over a whole day,
# and without any.
ZONES = (
    "Europe/Berlin",
    "America/New_York",
    "America/Sao_Paulo",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Asia/Kathmandu",
    "UTC",
)
MINUTES = st.integers(0, 24 * 60 - 1)
DAYS = st.sets(st.integers(0, 6), min_size=1).map(lambda days: tuple(sorted(days)))
TIMES = st.one_of(st.none(), MINUTES)
SCHEDULES = st.builds(Schedule, TIMES, TIMES, DAYS, st.sampled_from(ZONES)).filter(
    lambda each: bool(each) and each.start != each.stop
)
# 1990 to 2037.
NOW = st.integers(631_152_000, 2_145_916_800)


def at(text, zone="Europe/Berlin"):
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


def show(events, zone="Europe/Berlin"):
    return [
        f"{event.kind} {datetime.fromtimestamp(event.at, ZoneInfo(zone)):%a %m-%d %H:%M}"
        for event in events
    ]


def list_week(text, begin, days=7):
    after = at(begin)
    return show(list_events(parse_schedule(text), after, after + days * 86_400, "Europe/Berlin"))


# how they are written


@pytest.mark.parametrize(
    ("text", "written"),
    [
        (CLASS, CLASS),
        ("MON-FRI  9:00-18:00", "mon-fri 09:00-18:00"),
        ("-18:00", "-18:00"),
        ("09:00-", "09:00-"),
        ("daily 22:00-06:00 UTC", "22:00-06:00 UTC"),
        ("sat,sun -23:59", "sat,sun -23:59"),
        ("fri-mon 08:00-", "mon,fri,sat,sun 08:00-"),
        ("tue 00:00-00:01", "tue 00:00-00:01"),
        ("none", "none"),
    ],
)
def test_a_schedule_is_read_and_written_one_way(text, written):
    assert str(parse_schedule(text)) == written
    assert parse_schedule(written) == parse_schedule(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        "mon-fri",
        "9-18",
        "24:00-",
        "-18:60",
        "09:00-09:00",
        "moo 09:00-",
        "mon-fry 09:00-18:00",
        "09:00-18:00 Mars/Olympus",
        "09:00-18:00 ../../etc/passwd",
        "09:00-18:00 /etc/localtime",
        "09:00-18:00 Europe",
        "09:00-18:00 Europe/Berlin UTC",
        "09:00-18:00\x00",
        "0" * 10_000,
        7,
        None,
        ["09:00-18:00"],
    ],
)
def test_what_is_no_schedule_is_refused_with_the_cure(text):
    with pytest.raises(ValueError, match=r"Write e\.g\."):
        parse_schedule(text)


@given(schedule=SCHEDULES)
def test_every_schedule_is_read_back_as_it_was_written(schedule):
    assert parse_schedule(str(schedule)) == schedule


# what happens when


def test_a_class_begins_at_nine_and_ends_at_six_on_weekdays():
    assert list_week(CLASS, "2026-11-27 12:00")[:4] == [
        "stop Fri 11-27 18:00",
        "start Mon 11-30 09:00",
        "stop Mon 11-30 18:00",
        "start Tue 12-01 09:00",
    ]
    assert list_week("sat -20:00", "2026-11-27 12:00") == ["stop Sat 11-28 20:00"]
    assert list_week("fri 22:00-06:00", "2026-11-27 12:00") == [
        "start Fri 11-27 22:00",
        "stop Sat 11-28 06:00",
    ]


def test_nine_is_nine_on_both_sides_of_a_change_of_the_clocks():
    spring = list_week("09:00- Europe/Berlin", "2026-03-27 12:00", 3)
    assert spring == ["start Sat 03-28 09:00", "start Sun 03-29 09:00", "start Mon 03-30 09:00"]
    autumn = list_week("09:00- Europe/Berlin", "2026-10-23 12:00", 3)
    assert autumn == ["start Sat 10-24 09:00", "start Sun 10-25 09:00", "start Mon 10-26 09:00"]


def test_a_time_that_the_clocks_leave_out_comes_and_one_that_comes_twice_counts_once():
    assert list_week("02:30- Europe/Berlin", "2026-03-28 12:00", 1) == ["start Sun 03-29 03:30"]
    twice = list_events(
        parse_schedule("02:30- Europe/Berlin"),
        at("2026-10-24 12:00"),
        at("2026-10-25 12:00"),
        "UTC",
    )
    assert [datetime.fromtimestamp(event.at, UTC).hour for event in twice] == [0]  # summer's still


def test_a_schedule_without_a_zone_goes_by_the_hubs():
    schedule, now = parse_schedule("-18:00"), at("2026-11-30 12:00", "UTC")
    berlin, utc = (find_next(schedule, now, zone) for zone in ("Europe/Berlin", "UTC"))
    assert berlin is not None
    assert utc is not None
    assert utc.at - berlin.at == 3600
    assert find_next(Schedule(), now, "UTC") is None


@given(schedule=SCHEDULES, now=NOW)
def test_what_comes_next_comes_after_now_within_nine_days_at_its_own_time(schedule, now):
    event = find_next(schedule, now, "UTC")
    assert event is not None
    assert now < event.at <= now + 9 * 86_400
    minutes = schedule.start if event.kind is EventKind.START else schedule.stop
    local = datetime.fromtimestamp(event.at, ZoneInfo(schedule.zone))
    shift = (local.hour * 60 + local.minute - minutes) % (24 * 60)
    # A gap of the clocks puts it off by the length of the gap.
    assert shift in (0, 30, 60)
    later = find_next(schedule, event.at, "UTC")
    assert later is not None
    assert later.at > event.at


@given(schedule=SCHEDULES, now=NOW, days=st.integers(1, 20), cuts=st.lists(st.floats(0, 1)))
def test_looks_in_a_row_miss_nothing_and_see_nothing_twice(schedule, now, days, cuts):
    until = now + days * 86_400
    edges = [now, *sorted(now + cut * (until - now) for cut in cuts), until]
    seen = [
        event
        for after, before in itertools.pairwise(edges)
        for event in list_events(schedule, after, before, "UTC")
    ]
    assert seen == list_events(schedule, now, until, "UTC")


@given(zone=st.sampled_from(ZONES), minutes=MINUTES, now=NOW)
@example(zone="Pacific/Apia", minutes=540, now=1_325_200_000)  # there was no 30 December 2011
@example(zone="America/Sao_Paulo", minutes=10, now=1_540_900_000)  # a gap at midnight
@example(zone="Europe/Berlin", minutes=150, now=1_774_700_000)
def test_each_day_has_its_one_event_whatever_the_clocks_do(zone, minutes, now):
    schedule = Schedule(start=minutes, days=EVERY_DAY, zone=zone)
    place = ZoneInfo(zone)
    begin = datetime.fromtimestamp(now, place).date()
    found = list_events(schedule, now - 3 * 86_400, now + 12 * 86_400, zone)
    # In Apia, and wherever a gap ends at midnight, an event may be one of the next date.
    dates = [datetime.fromtimestamp(event.at - 3600, place).date() for event in found]
    for number in range(8):
        day = begin + timedelta(days=number)
        near = [each for each in dates if abs((each - day).days) <= 1]
        assert 1 <= len(near) <= 4, day
    assert len({event.at for event in found}) >= 13


# whose it is


def meet(policy, person=Person("ann"), **more):  # noqa: B008 - it is frozen
    return Circumstances(read_policy(policy), person, defaults=SpawnerDefaults("image"), **more)


def test_the_policy_sets_a_schedule_and_a_person_chooses_another_one():
    policy = f"everyone: {{schedule: {{default: '{CLASS}'}}}}"
    valid = find_schedule(meet(policy), None)
    assert (str(valid.schedule), valid.may_choose) == (CLASS, True)
    assert valid.reason.source is not None
    assert valid.reason.source.rule == "everyone.schedule.default"
    assert str(find_schedule(meet(policy), "-20:00").schedule) == "-20:00"
    assert not find_schedule(meet(policy), "none").schedule
    assert choose_schedule(meet(policy), " 08:00-20:00 ") == "08:00-20:00"
    assert choose_schedule(meet(policy), "") is None


def test_the_policy_forbids_to_choose_and_what_was_chosen_before_holds_no_longer():
    policy = f"everyone: {{options: [image], schedule: {{default: '{CLASS}'}}}}"
    with pytest.raises(FieldsError, match="cannot be chosen here"):
        choose_schedule(meet(policy), "-23:00")
    valid = find_schedule(meet(policy), "-23:00")
    assert (str(valid.schedule), valid.may_choose) == (CLASS, False)
    assert not find_schedule(meet("everyone: {options: [image]}"), "-23:00").schedule


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        ("none", "has to stop by 20:00"),
        ("09:00-", "has to stop by 20:00"),
        ("-21:00", "stops after 20:00"),
        ("mon -18:00", "has to stop by 20:00 on mon-fri"),
        ("mon-fri 07:00-18:00", "starts before 08:00"),
        ("09:00-18:00", "has other days than mon-fri"),
        ("mon-fri 22:00-06:00", "runs over midnight"),
        ("mon-fri 09:00-18:00 UTC", "has another time zone"),
    ],
)
def test_what_is_outside_the_bounds_of_the_policy_is_refused_with_the_rule(wanted, why):
    circumstances = meet("everyone: {schedule: {within: 'mon-fri 08:00-20:00 Europe/Berlin'}}")
    with pytest.raises(FieldsError, match=why) as caught:
        choose_schedule(circumstances, wanted)
    assert "everyone.schedule.within" in caught.value.rules["schedule"]
    with pytest.raises(FieldsError, match=why):  # a start is held to the same
        decide(circumstances, WorkspaceOptions.from_rest({"schedule": wanted}))
    # What was stored before the rule came is not carried out.
    assert not find_schedule(circumstances, wanted).schedule


def test_what_is_within_the_bounds_is_granted_in_their_time_zone():
    circumstances = meet("everyone: {schedule: {within: 'mon-fri 08:00-20:00 Europe/Berlin'}}")
    for wanted in ("mon-fri 08:00-20:00", "mon-fri 09:00-18:00 Europe/Berlin", "-19:00"):
        assert choose_schedule(circumstances, wanted)
        assert find_schedule(circumstances, wanted).schedule.zone == "Europe/Berlin"
    without_start = meet("everyone: {schedule: {within: '-20:00'}}")
    with pytest.raises(FieldsError, match="A stop alone may be chosen"):
        choose_schedule(without_start, "09:00-18:00")
    assert choose_schedule(without_start, "-18:00")


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ("default: '9 to 5'", "is no schedule"),
        ("within: '22:00-06:00'", "within over midnight"),
        ("default: '-21:00', within: '-20:00'", "outside its own within"),
        ("defualt: '-20:00'", "Did you mean default"),
    ],
)
def test_a_rule_that_means_nothing_is_refused_with_its_line(rule, why):
    with pytest.raises(ConfigurationError, match=rf"policy\.yaml:2: .*{why}"):
        read_policy(f"everyone:\n  schedule: {{{rule}}}")


def test_the_policy_concerns_everybody_only_while_one_of_its_own_schedules_is_due():
    policy = read_policy(f"groups: {{course: {{schedule: {{default: '{CLASS}'}}}}}}")
    nine = at("2026-11-30 09:00")
    assert list(list_due_rules(policy, nine - 20, nine, "UTC")) == ["groups.course"]
    assert list(list_due_rules(policy, nine, nine + 20, "UTC")) == []


def test_a_time_zone_that_nobody_knows_is_refused():
    assert Settings.from_environment({"MLHUB_TIMEZONE": "Europe/Berlin"}).mlhub_timezone
    for name in ("Berlin", "../UTC", "Europe", "CET+1:00"):
        with pytest.raises(SettingsError, match=r"MLHUB_TIMEZONE.*Write e\.g\. Europe/Berlin"):
            Settings.from_environment({"MLHUB_TIMEZONE": name})
