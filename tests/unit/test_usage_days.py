"""What workspaces had, day by day: counted, kept, and added up."""

from __future__ import annotations

from datetime import date

import pytest
from jupyterhub import orm
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from mlhub.admin.usage import (
    KEPT_DAYS,
    Amounts,
    Listing,
    Whose,
    add_to_day,
    count,
    forget_old_days,
    list_sums,
    read_days,
)
from mlhub.admin.usage_pages import write_cell
from mlhub.policy.quota import Reservation
from mlhub.web.plot import plot_bars, write_amount
from mlhub.workspaces.holder import PersonKey

MONDAY, TUESDAY = date(2026, 3, 2), date(2026, 3, 3)
GIBIBYTE = 2**30


@pytest.fixture
def session():
    engine = create_engine("sqlite://")
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


def test_people_and_groups_are_listed_by_what_they_had_a_page_at_a_time(session):
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

    def look(**asked):
        rows, total = list_sums(session, Listing(**asked), MONDAY, TUESDAY)
        return [(name, amounts.hours) for name, amounts in rows], total

    assert look() == ([("bob", 3), ("=sum", 2), ("ann", 1)], 3)
    assert look(sort="name", limit=1, offset=1) == ([("ann", 1)], 3)
    assert look(search="OB") == ([("bob", 3)], 1)
    assert look(search="%") == ([], 0)  # a sign of the database's own is text
    assert look(by="group") == ([("lab", 4), ("gpu", 1)], 2)
    lab = read_days(session, Whose(group="lab"), MONDAY, MONDAY)
    assert lab == {MONDAY: Amounts(4, disk=14)}


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
