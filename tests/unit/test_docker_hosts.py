"""What is known of a host's GPUs from what its engine and its driver tell."""

import os

import pytest

from mlhub.backends.docker.hosts import find_gpus, is_local

NVIDIA = {"Runtimes": {"runc": {}, "nvidia": {}}}
CDI = {"DiscoveredDevices": [{"Source": "cdi", "ID": "nvidia.com/gpu=0"}]}
PLAIN = {"Runtimes": {"runc": {}}}


def make_driver(folder, *uuids):
    for index, uuid in enumerate(uuids):
        place = folder / "gpus" / f"0000:{index + 1:02x}:00.0"
        place.mkdir(parents=True)
        (place / "information").write_text(
            f"Model: \t\t Tesla T4\nIRQ:   \t\t 33\nGPU UUID: \t {uuid}\nVideo BIOS: \t 90.04\n"
        )
    return folder


def test_uuids_come_in_the_order_of_their_bus_addresses(tmp_path):
    driver = make_driver(tmp_path, "GPU-b5e6a1f0-1111", "GPU-a5e6a1f0-2222")
    assert find_gpus(NVIDIA, True, driver) == ("GPU-b5e6a1f0-1111", "GPU-a5e6a1f0-2222")


def test_a_driver_without_a_registered_runtime_counts_too(tmp_path):
    """Docker 20.10 with the toolkit's hook on its PATH serves GPUs and tells nobody."""
    assert find_gpus(PLAIN, True, make_driver(tmp_path, "GPU-aaaa")) == ("GPU-aaaa",)


@pytest.mark.parametrize("info", [NVIDIA, CDI])
def test_a_runtime_whose_gpus_can_not_be_listed_is_unknown_not_none(tmp_path, info):
    assert find_gpus(info, True, tmp_path / "nowhere") is None


def test_a_gpu_that_the_driver_has_not_initialized_is_unknown(tmp_path):
    assert find_gpus(NVIDIA, True, make_driver(tmp_path, "GPU-aaaa", "GPU-????????-????")) is None


def test_neither_runtime_nor_driver_is_none_on_this_host_and_unknown_on_another(tmp_path):
    assert find_gpus(PLAIN, True, tmp_path / "nowhere") == ()
    assert find_gpus(PLAIN, False, tmp_path / "nowhere") is None


def test_the_driver_here_says_nothing_about_an_engine_elsewhere(tmp_path):
    assert find_gpus(NVIDIA, False, make_driver(tmp_path, "GPU-aaaa")) is None


def test_an_engine_is_local_by_socket_and_kernel():
    here = {"KernelVersion": os.uname().release}
    assert is_local(here, "unix:///var/run/docker.sock")
    assert not is_local(here, "tcp://192.0.2.1:2375")
    assert not is_local({"KernelVersion": "1.2.3-elsewhere"}, "unix:///forwarded.sock")
