"""The worked examples of the documentation are policies, and decide as their pages say."""

from __future__ import annotations

import jsonschema
import pytest
import yaml

from mlhub.options.model import FieldsError, WorkspaceOptions
from mlhub.options.option import Host
from mlhub.policy.circumstances import Circumstances
from mlhub.policy.decide import decide
from mlhub.policy.file import read_policy
from mlhub.policy.model import Person
from mlhub.policy.quota import Reservation
from mlhub.workspaces.cli import make_policy_schema
from tests.support.policy_examples import PAGES, read_example

HOST = Host(cpus=32, memory_bytes=128 * 2**30, gpus=("GPU-a", "GPU-b", "GPU-c", "GPU-d"))
GIB = 2**30


def ask(example, person, reserved=(), **options):
    """Decide by the policy of a page."""
    policy = read_policy(read_example(example), f"{example}.md")
    circumstances = Circumstances(policy, person, HOST, reserved=tuple(reserved), server="new")
    return decide(circumstances, WorkspaceOptions.from_rest(options))


def refuse(example, person, reserved=(), **options):
    """Return the sentences of what is refused."""
    with pytest.raises(FieldsError) as caught:
        ask(example, person, reserved, **options)
    assert all(f"{example}.md:" in rule for rule in caught.value.rules.values())
    return caught.value.fields


@pytest.mark.parametrize("page", sorted(page.stem for page in PAGES.glob("policy-*.md")))
def test_every_example_is_a_policy_and_fits_the_published_schema(page):
    text = read_example(page)
    assert read_policy(text).images
    jsonschema.validate(yaml.safe_load(text), make_policy_schema())


def test_in_the_classroom_students_get_one_small_workspace_and_teachers_choose():
    student, teacher = Person("anna", ("students",)), Person("tom", ("teachers",))
    decision = ask("policy-classroom", student)
    assert (decision.image.reference, decision.cpu_limit, decision.mem_limit) == (
        "quay.io/jupyter/scipy-notebook:2026-11-01",
        1,
        2 * GIB,
    )
    assert (decision.days_to_live, decision.image.entry.port) == (120, 8888)
    assert "at most 1" in refuse("policy-classroom", student, cpu_limit=2)["cpu_limit"]
    assert (
        "cannot be chosen here" in refuse("policy-classroom", student, cpu_limit=0.5)["cpu_limit"]
    )
    assert (
        "Stop one first"
        in refuse("policy-classroom", student, [Reservation("anna", "", ("students",))])["servers"]
    )
    class_ = [Reservation(f"s{n}", "", ("students",), 1, 2 * GIB) for n in range(24)]
    assert ask("policy-classroom", student, class_[1:])
    assert "24 CPUs in all" in refuse("policy-classroom", student, class_)["cpu_limit"]
    assert ask("policy-classroom", teacher, image="next-year", cpu_limit=4).cpu_limit == 4
    assert "at most 4" in refuse("policy-classroom", teacher, cpu_limit=6)["cpu_limit"]


def test_in_the_research_group_gpus_go_to_those_who_may_have_them():
    page, anyone = "policy-research", Person("ivo")
    vision, on_call = Person("mia", ("vision",)), Person("kim", ("vision", "on-call"))
    decision = ask(page, anyone)
    assert (
        decision.image.entry.name,
        decision.cpu_limit,
        decision.gpus,
        decision.days_to_live,
    ) == ("cpu", 2, (), 14)
    assert ask(page, anyone, image="torch", gpus="0").gpus == ("0",)
    assert "Choose from: 0,1" in refuse(page, anyone, image="torch", gpus="2")["gpus"]
    assert "gpus" in refuse(page, anyone, image="cpu", gpus="0")
    assert (
        "1 GPU in all"
        in refuse(page, anyone, [Reservation("ivo", "a", (), 1, 0, 1)], image="torch", gpus="1")[
            "gpus"
        ]
    )
    assert ask(page, vision, image="torch", gpus="2,3").gpus == ("2", "3")
    others = [Reservation("leo", "", ("vision",), 1, 0, 2)]
    assert (
        "The group vision may have 3 GPUs"
        in refuse(page, vision, others, image="torch", gpus="2,3")["gpus"]
    )
    assert ask(page, vision, others, image="torch", gpus="2")
    assert (
        len(ask(page, Person("kim", ("on-call",)), image="torch", gpus="all", days_to_live=2).gpus)
        == 4
    )
    assert "at most 2 days" in refuse(page, on_call, days_to_live=3)["days_to_live"]
    assert "AWS_KEY" in refuse(page, anyone, env="AWS_KEY=x")["env"]
    assert ask(page, anyone, image="registry.example.org/lab/mine:1")
    assert "image" in refuse(page, anyone, image="docker.io/library/debian")
    guest = Person("guest")
    assert "image" in refuse(page, guest, image="torch")
    assert ask(page, guest).ssh is False


def test_where_workspaces_are_handed_out_only_administrators_start_them():
    page = "policy-hand-out"
    handed = Person("max", is_admin=True)
    assert "may run no workspace here" in refuse(page, Person("max"))["servers"]
    decision = ask(page, handed, image="large", cpu_limit=4, days_to_live=90)
    assert (decision.person.name, decision.cpu_limit, decision.days_to_live) == ("max", 4, 90)
    assert "at most 8" in refuse(page, handed, cpu_limit=16)["cpu_limit"]
    assert (
        "64 GB of memory in all"
        in refuse(page, handed, [Reservation("max", "a", (), 1, 60 * GIB)], mem_limit=8)[
            "mem_limit"
        ]
    )
    assert ask(page, Person("dana")).image.entry.name == "small"
    assert (
        "Stop one first"
        in refuse(page, Person("dana", is_admin=True), [Reservation("dana", "a", (), 1, GIB)])[
            "servers"
        ]
    )
