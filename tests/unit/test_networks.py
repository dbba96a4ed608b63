"""Subnet arithmetic, routes and the hub's own container id: all pure."""

from ipaddress import IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlhub.backends.docker.hub_container import parse_container_id
from mlhub.backends.docker.subnets import (
    find_free_subnet,
    make_bridge_name,
    parse_engine_subnets,
    parse_gateway,
    parse_routes,
)

POOL = IPv4Network("10.64.0.0/12")
subnets = st.builds(
    lambda address, prefix: IPv4Network((address, prefix), strict=False),
    st.integers(0x0A3FFF00, 0x0A500100),
    st.integers(14, 32),
)


def test_the_first_subnet_is_the_pools_first():
    assert find_free_subnet(POOL, 27, []) == IPv4Network("10.64.0.0/27")


def test_a_freed_subnet_is_used_again():
    taken = [IPv4Network("10.64.0.0/27"), IPv4Network("10.64.0.64/27")]
    assert find_free_subnet(POOL, 27, taken) == IPv4Network("10.64.0.32/27")


def test_what_lies_outside_the_pool_does_not_matter():
    taken = [IPv4Network("172.17.0.0/16"), IPv4Network("10.63.0.0/16"), IPv4Network("10.80.0.0/16")]
    assert find_free_subnet(POOL, 27, taken) == IPv4Network("10.64.0.0/27")


def test_a_larger_network_that_covers_the_pool_takes_it_all():
    assert find_free_subnet(POOL, 27, [IPv4Network("10.0.0.0/8")]) is None


def test_a_full_pool_gives_none_and_one_hole_is_found():
    pool = IPv4Network("10.64.0.0/24")
    taken = list(pool.subnets(new_prefix=27))
    assert find_free_subnet(pool, 27, taken) is None
    assert find_free_subnet(pool, 27, taken[:5] + taken[6:]) == taken[5]


@given(st.lists(subnets, max_size=60), st.integers(16, 29))
def test_a_free_subnet_lies_in_the_pool_overlaps_nothing_and_is_the_lowest(taken, prefix):
    found = find_free_subnet(POOL, prefix, taken)
    candidates = (
        candidate
        for candidate in POOL.subnets(new_prefix=prefix)
        if not any(candidate.overlaps(net) for net in taken)
    )
    assert found == next(candidates, None)


@given(st.lists(st.integers(0, 400), unique=True, max_size=100))
def test_bridge_names_of_live_networks_differ_and_fit_an_interface_name(indices):
    names = [
        make_bridge_name("mlhub", IPv4Network((int(POOL.network_address) + 32 * index, 27)))
        for index in indices
    ]
    assert len(set(names)) == len(names)
    assert all(len(name) <= 15 and name.startswith("mh-mlhub-") for name in names)


def test_routes_are_read_and_the_default_route_is_none():
    table = (
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
        "eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
        "docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n"
        "tun0\t0000400A\t00000000\t0001\t0\t0\t0\t0000F0FF\t0\t0\t0\n"
    )
    assert parse_routes(table) == [IPv4Network("172.17.0.0/16"), IPv4Network("10.64.0.0/12")]
    assert parse_gateway(table) == "192.0.2.1"
    assert parse_gateway(table.splitlines()[0]) == parse_gateway("") == ""


def test_the_engines_subnets_are_read_with_ipv6_and_empty_entries_left_out():
    networks = [
        {"IPAM": {"Config": [{"Subnet": "172.17.0.0/16"}, {"Subnet": "fd00::/64"}]}},
        {"IPAM": {"Config": None}},
        {"IPAM": None},
        {"IPAM": {"Config": [{}]}},
    ]
    assert parse_engine_subnets(networks) == [IPv4Network("172.17.0.0/16")]


ID = "3f" * 32


@pytest.mark.parametrize(
    ("mountinfo", "found"),
    [
        (
            (
                f"700 600 254:1 /var/lib/docker/containers/{ID}/hostname /etc/hostname rw,relatime"
                " - ext4 /dev/vda1 rw"
            ),
            ID,
        ),
        (
            (
                f"700 600 0:33 /containers/overlay-containers/{ID}/userdata/hostname /etc/hostname"
                " rw - tmpfs tmpfs rw"
            ),
            ID,
        ),
        (f"700 600 0:33 / /var/lib/docker/containers/{ID}/mounts/shm rw - tmpfs shm rw", None),
        (
            (
                f"700 600 254:1 /var/lib/docker/containers/{ID}/hostname /data/hostname rw,relatime"
                " - ext4 /dev/vda1 rw"
            ),
            None,
        ),
        ("700 600 254:1 / / rw,relatime - ext4 /dev/vda1 rw", None),
        ("", None),
    ],
)
def test_the_own_container_is_read_from_mountinfo_and_a_host_is_none(mountinfo, found):
    assert parse_container_id(f"21 1 254:1 / / rw - ext4 /dev/vda1 rw\n{mountinfo}") == found
