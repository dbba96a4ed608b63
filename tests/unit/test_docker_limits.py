"""What was granted, in the engine's terms; what of it can change on a container that exists."""

from types import SimpleNamespace

import pytest

from mlhub.backends.docker.limits import list_changes, make_limits
from mlhub.backends.docker.spec import hash_arguments

MIB = 2**20


def granted(shm_size=None, gpus=()):
    return SimpleNamespace(shm_size=shm_size, gpus=gpus)


def test_memory_is_not_stretched_by_swap():
    assert make_limits(granted(), None, 512 * MIB, {}) == {
        "mem_limit": 512 * MIB,
        "memswap_limit": 512 * MIB,
    }


def test_the_sites_own_memory_limit_is_not_stretched_either():
    limits = make_limits(granted(), None, 512 * MIB, {"mem_limit": "1g"})
    assert limits["memswap_limit"] == "1g"


def test_no_limit_is_no_argument():
    assert make_limits(None, None, None, {}) == {}


def test_cores_become_a_quota_of_the_period():
    assert make_limits(granted(), 1.5, None, {}) == {"cpu_period": 100_000, "cpu_quota": 150_000}
    assert make_limits(granted(), 1.5, None, {"cpu_period": 10_000})["cpu_quota"] == 15_000
    assert (
        make_limits(granted(), 1.5, None, {"nano_cpus": 10**9}) == {}
    )  # the engine refuses both together


def test_all_gpus_are_a_count_and_some_are_named():
    (request,) = make_limits(granted(gpus=("all",)), None, None, {})["device_requests"]
    assert (request["Count"], request["DeviceIDs"], request["Capabilities"]) == (-1, [], [["gpu"]])
    (request,) = make_limits(granted(gpus=("0", "GPU-1234")), None, None, {})["device_requests"]
    assert (request["Count"], request["DeviceIDs"], request["Capabilities"]) == (
        0,
        ["0", "GPU-1234"],
        [["gpu"]],
    )
    assert not request["Driver"]
    assert "device_requests" not in make_limits(granted(), None, None, {})


@pytest.mark.parametrize(
    ("wanted", "found", "changes"),
    [
        (
            {"mem_limit": 512 * MIB, "memswap_limit": 512 * MIB},
            {"Memory": 512 * MIB, "MemorySwap": -1},
            False,
        ),
        ({"mem_limit": "512m", "memswap_limit": "512m"}, {"Memory": 512 * MIB}, False),
        ({"mem_limit": 513 * MIB, "memswap_limit": 513 * MIB}, {"Memory": 512 * MIB}, True),
        (
            {"cpu_period": 100_000, "cpu_quota": 50_000},
            {"CpuPeriod": 100_000, "CpuQuota": 50_000},
            False,
        ),
        (
            {"cpu_period": 100_000, "cpu_quota": 60_000},
            {"CpuPeriod": 100_000, "CpuQuota": 50_000},
            True,
        ),
        ({}, {"Memory": 0, "CpuQuota": 0}, False),
    ],
)
def test_only_a_limit_that_differs_is_changed(wanted, found, changes):
    assert list_changes(wanted, found) == (wanted if changes else {})


def make_arguments(**changes):
    arguments = {
        "image": "a:1",
        "command": ["from-the-image"],
        "environment": {"A": "1", "JUPYTERHUB_API_TOKEN": "x", "SCOPES": '["b", "a"]'},
        "labels": {"mlhub.user": "alice", "expiration_timestamp_seconds": "1"},
        "host_config": {"shm_size": 1, "mem_limit": 10, "memswap_limit": 10, "init": True},
    }
    return {**arguments, **changes}


@pytest.mark.parametrize(
    "changes",
    [
        {"command": ["what-a-newer-image-says"]},
        {"environment": {"A": "1", "JUPYTERHUB_API_TOKEN": "y", "SCOPES": '["a", "b"]'}},
        {"labels": {"mlhub.user": "alice", "expiration_timestamp_seconds": "2"}},
        {"host_config": {"shm_size": 1, "mem_limit": 11, "memswap_limit": 11}},
    ],
)
def test_what_may_change_without_a_new_container_does_not_count(changes):
    assert hash_arguments(make_arguments(**changes), {}) == hash_arguments(make_arguments(), {})


@pytest.mark.parametrize(
    "changes",
    [
        {"image": "a:2"},
        {"environment": {"A": "2"}},
        {"labels": {"mlhub.user": "bob"}},
        {"host_config": {"shm_size": 2, "mem_limit": 10, "memswap_limit": 10}},
        {"host_config": {"shm_size": 1}},  # a limit can be changed, but not taken away
    ],
)
def test_everything_else_counts(changes):
    assert hash_arguments(make_arguments(**changes), {}) != hash_arguments(make_arguments(), {})
    assert hash_arguments(make_arguments(), {"command": ["a"]}) != hash_arguments(
        make_arguments(), {"command": ["b"]}
    )
