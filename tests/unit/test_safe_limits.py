"""What holds without a policy file, so that no one person can fill the host."""

import pytest

from mlhub.options.model import WorkspaceOptions
from mlhub.options.option import Host
from mlhub.policy.available import find_available_options
from mlhub.policy.circumstances import Circumstances
from mlhub.policy.decide import FieldsError, Ledger, decide
from mlhub.policy.file import read_policy
from mlhub.policy.model import Person, SitePolicy, SpawnerDefaults
from mlhub.policy.quota import Reservation
from mlhub.quantities import GIBIBYTE

HOST = Host(cpus=8, memory_bytes=33 * GIBIBYTE, gpus=(), is_shared=True)  # 32 without the hub's
ANN, BOB = Person("ann"), Person("bob")


def at(person=ANN, server="", policy=None, host=HOST, **more):
    more.setdefault("defaults", SpawnerDefaults(image="a/b:1"))
    return Circumstances(policy or SitePolicy(), person, host=host, server=server, **more)


def ask(**options):
    return WorkspaceOptions.from_rest(options)


def start(ledger, person, **options):
    count = sum(1 for each in ledger.list_reserved() if each.user == person.name)
    return ledger.reserve(at(person, f"s{count}"), ask(**options))


def test_one_person_has_three_quarters_of_the_memory_and_the_next_one_starts_all_the_same():
    ledger = Ledger()
    assert [start(ledger, ANN).mem_limit for _ in range(6)] == [4 * GIBIBYTE] * 6
    with pytest.raises(FieldsError, match="You may have 24 GB of memory in all: 24 GB taken"):
        start(ledger, ANN)
    assert start(ledger, BOB).mem_limit == 4 * GIBIBYTE
    with pytest.raises(FieldsError, match="Ask for at most 24 GB"):
        decide(at(), ask(mem_limit="25G"))
    assert decide(at(), ask(mem_limit="24G")).mem_limit == 24 * GIBIBYTE


def test_one_person_runs_twenty_workspaces_at_the_most():
    ledger = Ledger()
    for _ in range(20):
        start(ledger, ANN, mem_limit="128M")
    with pytest.raises(FieldsError, match="You may run 20 workspaces at once, 20 already do"):
        start(ledger, ANN, mem_limit="128M")
    start(ledger, BOB, mem_limit="128M")


def test_what_runs_without_a_limit_from_before_is_no_reason_to_refuse_the_next_one():
    ledger = Ledger()
    ledger.record(Reservation("ann", "older"))
    assert start(ledger, ANN).mem_limit == 4 * GIBIBYTE


@pytest.mark.parametrize(
    "line", ["everyone: {total: {servers: 30}}", "everyone: {total: {mem_limit: unlimited}}"]
)
def test_one_line_of_a_policy_ends_it(line):
    policy = read_policy(line)
    assert decide(at(policy=policy), ask()).mem_limit == 32 * GIBIBYTE
    assert decide(at(policy=policy), ask(mem_limit="32G")).mem_limit == 32 * GIBIBYTE


def test_a_limit_of_the_user_config_stays_that_of_each_workspace():
    defaults = SpawnerDefaults(image="a/b:1", mem_limit=30 * GIBIBYTE)
    assert decide(at(defaults=defaults), ask()).mem_limit == 30 * GIBIBYTE
    assert "30 GB of memory" in find_available_options(at(defaults=defaults)).totals
    defaults = SpawnerDefaults(image="a/b:1", mem_limit=2 * GIBIBYTE)
    assert decide(at(defaults=defaults), ask()).mem_limit == 2 * GIBIBYTE


def test_a_small_host_and_one_that_is_not_known_and_a_cluster():
    small = Host(cpus=2, memory_bytes=2 * GIBIBYTE, gpus=(), is_shared=True)
    assert decide(at(host=small), ask()).mem_limit == 768 * 2**20
    assert decide(at(host=Host()), ask()).mem_limit is None
    node = Host(cpus=8, memory_bytes=33 * GIBIBYTE, gpus=())  # of several
    assert decide(at(host=node), ask()).mem_limit == 32 * GIBIBYTE


def test_the_form_tells_it():
    assert find_available_options(at()).totals == (
        "At once you may have at most 20 workspaces and 24 GB of memory in all."
    )
    policy = read_policy("everyone: {total: {servers: 1}}")
    told = find_available_options(at(policy=policy)).totals
    assert told == "At once you may have at most 1 workspace in all."
    assert not find_available_options(at(policy=read_policy("everyone: {ssh: true}"))).totals
