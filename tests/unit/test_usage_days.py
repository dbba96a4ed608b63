"""What workspaces had, day by day: counted, kept, and added up."""

from __future__ import annotations

import asyncio
from datetime import date

import pytest
from jupyterhub import orm
from sqlalchemy import create_engine, event
from sqlalchemy.orm import Session
from sqlalchemy.pool import StaticPool

from mlhub.admin.usage import (
    KEPT_DAYS,
    Amounts,
    Whose,
    add_to_day,
    count,
    forget_old_days,
    read_days,
)
from mlhub.admin.usage_pages import write_cell
from mlhub.admin.usage_sums import Listing, PastUsage, list_sums
from mlhub.policy.quota import Reservation
from mlhub.web.plot import plot_bars, write_amount
from mlhub.workspaces.holder import PersonKey

MONDAY, TUESDAY, WEDNESDAY = date(2026, 3, 2), date(2026, 3, 3), date(2026, 3, 4)
GIBIBYTE = 2**30


@pytest.fixture
def session():
    engine = create_engine("sqlite://", poolclass=StaticPool)  # as JupyterHub's
    orm.Base.metadata.create_all(engine)
    with Session(engine) as session:
        yield session


def add_person(session, name, *groups):
    person = orm.User(name=name)
    session.add(person)
    for group in groups:
        found = orm.Group.find(session, group) or orm.Group(name=group)
        session.add(found)
        found.users.append(person)
    session.commit()
    return person


def test_an_hour_of_two_cores_is_two_hours_of_cpu_and_what_has_no_limit_is_in_no_sum():
    reserved = Reservation("ann", cpu_limit=2, mem_limit=4 * GIBIBYTE, gpus=1)
    assert count(reserved, 1800) == Amounts(0.5, 1, 2, 0.5)
    assert count(Reservation("ann", gpus=None), 3600) == Amounts(1, 0, 0, 0)
    assert count(None, 3600) == Amounts(1)


def test_a_day_grows_by_each_look_and_days_without_anything_are_there_too(session):
    ann = add_person(session, "ann")
    for hours, disk in ((1, 50), (2, 40)):
        add_to_day(session, MONDAY, {ann.id: ("ann", Amounts(hours, 2 * hours, disk=disk))})
    days = read_days(session, Whose(name="ann"), MONDAY, TUESDAY)
    assert days == {MONDAY: Amounts(3, 6, disk=50), TUESDAY: Amounts()}
    assert read_days(session, Whose(name="bob"), MONDAY, MONDAY) == {MONDAY: Amounts()}


def test_a_minute_of_many_people_is_written_in_as_many_statements_as_that_of_one(session):
    names = [f"person-{number}" for number in range(30)]
    people = [(add_person(session, name).id, (name, Amounts(1))) for name in names]
    statements = []
    listen = event.listens_for(session.get_bind(), "after_cursor_execute")
    listen(lambda *of: statements.append(of[2]))
    for counted in (people[:1], people, people):
        statements.clear()
        add_to_day(session, MONDAY, dict(counted))
        assert len(statements) <= 4  # whose, which are there, those that are, those that are not
    assert read_days(session, Whose(), MONDAY, MONDAY)[MONDAY].hours == 61


def test_whoever_has_a_name_later_does_not_see_what_somebody_had_before(session):
    former = add_person(session, "ann")
    add_to_day(session, MONDAY, {former.id: ("ann", Amounts(5))})
    session.delete(former)
    session.commit()
    ann = add_person(session, "ann", "lab")
    add_to_day(session, TUESDAY, {ann.id: ("ann", Amounts(1))})
    key = session.query(PersonKey).order_by(PersonKey.id.desc()).first().key
    own = read_days(session, Whose(person=key), MONDAY, TUESDAY)
    assert [each.hours for each in own.values()] == [0, 1]


def look(past, session, today=TUESDAY, **asked):
    """List as the pages do, from Monday on."""

    async def find():
        return await past.find(MONDAY, today)

    found = list_sums(session, Listing(**asked), asyncio.run(find()), today)
    rows = [(name, amounts.hours) for name, amounts in found.rows]
    return rows, found.total, [amounts.hours for amounts in found.days.values()]


@pytest.fixture
def past(session):
    return PastUsage(lambda: Session(session.get_bind()))


@pytest.fixture
def people(session):
    """Three people, who had something on Monday."""
    people = {
        name: add_person(session, name, *groups)
        for name, groups in (("ann", ("lab", "gpu")), ("bob", ("lab",)), ("=sum", ()))
    }
    hours = {"ann": 1, "bob": 3, "=sum": 2}
    add_to_day(
        session,
        MONDAY,
        {person.id: (name, Amounts(hours[name], disk=7)) for name, person in people.items()},
    )
    return people


def test_people_and_groups_are_listed_by_what_they_had_a_page_at_a_time(session, past, people):
    assert look(past, session) == ([("bob", 3), ("=sum", 2), ("ann", 1)], 3, [6, 0])
    assert look(past, session, sort="name", limit=1, offset=1)[:2] == ([("ann", 1)], 3)
    assert look(past, session, sort="disk", limit=None)[0] == [("=sum", 2), ("ann", 1), ("bob", 3)]
    assert look(past, session, search="OB")[:2] == ([("bob", 3)], 1)
    assert look(past, session, search="%")[:2] == ([], 0)
    assert look(past, session, by="group")[:2] == ([("lab", 4), ("gpu", 1)], 2)
    lab = read_days(session, Whose(group="lab"), MONDAY, MONDAY)
    assert lab == {MONDAY: Amounts(4, disk=14)}


def test_whoever_left_is_listed_by_their_name_and_in_no_group(session, past, people):
    session.delete(people["ann"])
    session.commit()
    ann = add_person(session, "ann", "gpu")
    add_to_day(session, TUESDAY, {ann.id: ("ann", Amounts(8))})
    assert look(past, session)[0][0] == ("ann", 9)
    assert look(past, session, by="group")[0] == [("gpu", 8), ("lab", 3)]


def test_days_that_are_over_are_read_once_and_the_day_of_now_each_time(session, past, people):
    assert look(past, session)[2] == [6, 0]
    asked = []
    event.listen(session.get_bind(), "after_cursor_execute", lambda *of: asked.append(of[3]))
    add_to_day(session, TUESDAY, {people["bob"].id: ("bob", Amounts(5))})
    asked.clear()
    assert look(past, session) == ([("bob", 8), ("=sum", 2), ("ann", 1)], 3, [6, 5])
    assert [days for days in asked if "2026-03-02" in days] == []
    assert look(past, session, today=WEDNESDAY)[2] == [6, 5, 0]


def test_what_is_written_late_to_a_day_that_is_over_counts(session, past, people):
    look(past, session)
    add_to_day(session, MONDAY, {people["bob"].id: ("bob", Amounts(5))})

    async def tell():
        await past.forget(MONDAY)

    asyncio.run(tell())
    assert look(past, session)[2] == [11, 0]


def test_days_that_nobody_asks_for_any_more_are_forgotten(session):
    ann = add_person(session, "ann")
    add_to_day(session, MONDAY, {ann.id: ("ann", Amounts(1))})
    forget_old_days(session, date.fromordinal(MONDAY.toordinal() + KEPT_DAYS))
    assert read_days(session, Whose(), MONDAY, MONDAY)[MONDAY].hours == 1
    forget_old_days(session, date.fromordinal(MONDAY.toordinal() + KEPT_DAYS + 1))
    assert read_days(session, Whose(), MONDAY, MONDAY)[MONDAY].hours == 0


def test_bars_are_as_high_as_their_amounts_under_a_round_number():
    plot = plot_bars([("monday", 3.0), ("tuesday", 0.0), ("sunday", 1.5)], "h")
    assert plot.top == "5 h"
    heights = [bar.height / plot.height for bar in plot.bars]
    assert heights == pytest.approx([0.6, 0, 0.3])
    assert plot.bars[0].title == "monday: 3 h"
    assert all(bar.x + bar.width <= plot.width for bar in plot.bars)
    assert plot.draw().count("<title>") == 3
    assert "<title>a &lt;b&gt;: 3 h</title>" in plot_bars([("a <b>", 3.0)], "h").draw()
    assert plot_bars([("monday", 0.0)], "h") is None
    assert plot_bars([], "h") is None
    assert [write_amount(each) for each in (0, 0.005, 1.25, 12.34, 1234.5)] == [
        "0",
        "0.01",
        "1.25",
        "12.3",
        "1234",
    ]


@pytest.mark.parametrize("sign", [*"=+-@\t\r\n", "\uff1d", "\uff0b", "\uff0d", "\uff20"])
def test_no_name_is_a_formula_for_a_spreadsheet(sign):
    assert write_cell(f"{sign}1+1") == f"'{sign}1+1"


@pytest.mark.parametrize("cell", ["ann", "a=b", "a-b@c", "", -1.5, 7])
def test_names_and_amounts_are_what_they_were(cell):
    assert write_cell(cell) == cell
