"""What workspaces may reach: from a site's words to the addresses that are open, on Docker and in
the chart.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mlhub.backends.docker.guard import check_networks
from mlhub.backends.docker.ruleset import make_ruleset, parse_nameservers
from mlhub.backends.registry import read_settings
from mlhub.egress import ALL, DEFAULT, METADATA, NONE, PRIVATE, is_open
from mlhub.errors import ConfigurationError, SettingsError

ADDRESSES = st.builds(IPv4Address, st.integers(0, 2**32 - 1)) | st.builds(
    IPv6Address, st.integers(0, 2**128 - 1)
)
RANGES = (
    "10.20.0.0/16",
    "100.64.0.0/10",
    "192.168.7.9/32",
    "168.0.0.0/7",
    "fd12:3456::/32",
    "64:ff9b::/96",
)
WORDS = st.lists(st.sampled_from(("internet", *RANGES)), min_size=1, max_size=5, unique=True)
# Nobody's addresses, which Python takes for private; and metadata that a public address gives.
DOCUMENTATION = tuple(
    map(
        ip_network,
        ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32", "3fff::/20"),
    )
)


def read(value: str) -> tuple[str, ...]:
    return read_settings({"MLHUB_WORKSPACE_EGRESS": value}).mlhub_workspace_egress


def within(address: IPv4Address | IPv6Address, networks) -> bool:
    return any(address in network for network in networks)


@pytest.mark.parametrize(
    ("value", "read_as"),
    [
        ("", ("internet",)),
        ("internet", ("internet",)),
        (" Internet , 10.20.0.0/16 ", ("internet", "10.20.0.0/16")),
        ("10.20.0.0/16,internet,10.20.0.0/16", ("10.20.0.0/16", "internet")),
        ("10.20.0.0/255.255.0.0", ("10.20.0.0/16",)),
        ("10.20.0.5", ("10.20.0.5/32",)),
        ("FD12:0:0::/48,", ("fd12::/48",)),
        ("2001:db8::1", ("2001:db8::1/128",)),
        ("ALL", ("all",)),
        ("none", ("none",)),
    ],
)
def test_each_spelling_is_read(value, read_as):
    assert read(value) == read_as


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        (",", ["names nothing", "internet,10.20.0.0/16"]),
        (
            "intranet",
            [
                "'intranet'",
                "neither a word that is known nor an address or range",
                "or all, or none",
            ],
        ),
        ("10.20.0.0/16 10.30.0.0/16", ["'10.20.0.0/16 10.30.0.0/16'"]),
        ("10.20.0.0/33", ["'10.20.0.0/33'"]),
        ("10.20", ["'10.20'"]),
        ("db.example.org", ["'db.example.org'"]),
        ("http://10.20.0.5", ["'http://10.20.0.5'"]),
        ("10.20.0.5:5432", ["'10.20.0.5:5432'"]),
        (
            "internet,10.20.3.4/16",
            [
                "'10.20.3.4/16'",
                "Write 10.20.0.0/16 for the range, or 10.20.3.4 for the one address.",
            ],
        ),
        ("all,10.20.0.0/16", ["'all' beside 10.20.0.0/16", "'all' stands alone"]),
        ("internet,none", ["'none' beside internet", "'none' stands alone"]),
        ("0.0.0.0/0", ["'0.0.0.0/0'", "Write all."]),
        ("internet,::/0", ["'::/0'", "Write all."]),
        ("169.254.169.254", ["'169.254.169.254'", "credentials", "Remove it."]),
        ("internet,fe80::/64", ["'fe80::/64'", "Remove it."]),
        ("168.63.129.16/32", ["credentials"]),
        ("fd12::1%eth0", ["'fd12::1%eth0'", "Write it without '%eth0'."]),
        ("::ffff:10.0.0.0/104", ["in the clothes of IPv6"]),
    ],
)
def test_a_value_that_can_not_be_meant_is_refused_with_the_cure(value, parts):
    with pytest.raises(SettingsError) as refused:
        read(value)
    assert "MLHUB_WORKSPACE_EGRESS" in str(refused.value)
    for part in parts:
        assert part in str(refused.value)


def test_what_can_not_hold_is_refused_and_the_default_is_not():
    shut = {"MLHUB_HOST_GUARD": "false"}
    for value in ("none", "10.20.0.0/16", "internet,10.20.0.0/16"):
        with pytest.raises(SettingsError, match="cannot hold with MLHUB_HOST_GUARD=false"):
            read_settings({**shut, "MLHUB_WORKSPACE_EGRESS": value})
        with pytest.raises(
            SettingsError, match=r"on Kubernetes the chart.*set mlhub\.workspaceEgress"
        ):
            read_settings({"EXECUTION_MODE": "k8s", "MLHUB_WORKSPACE_EGRESS": value})
    for value in ("all", "internet", ""):
        read_settings({**shut, "MLHUB_WORKSPACE_EGRESS": value})
    with pytest.raises(SettingsError, match=r"set mlhub\.workspaceEgress"):
        read_settings({"EXECUTION_MODE": "k8s", "MLHUB_WORKSPACE_EGRESS": "all"})
    read_settings({"EXECUTION_MODE": "k8s"})


@given(ADDRESSES)
@example(ip_address("10.0.0.1"))
@example(ip_address("100.127.255.255"))
@example(ip_address("127.0.0.1"))
@example(ip_address("172.32.0.0"))
@example(ip_address("224.0.0.251"))
@example(ip_address("255.255.255.255"))
@example(ip_address("::ffff:10.0.0.1"))
@example(ip_address("fd00::1"))
@example(ip_address("ff02::1"))
@example(ip_address("2a00::1"))
def test_the_internet_is_what_the_registries_call_global(address):
    """Python's own tables of the same registries are the yardstick."""
    if within(
        address,
        (
            *DOCUMENTATION,
            *map(ip_network, ("192.0.0.0/24", "192.88.99.0/24", "2001::/23", "2002::/16")),
        ),
    ):
        return  # of which versions of Python say different things
    if address.version == 6 and address not in ip_network("2000::/3"):
        assert not is_open(
            DEFAULT, address
        )  # handed out to nobody, or a way to an IPv4 address (64:ff9b::/96)
        return
    is_global = address.is_global and not address.is_multicast and not within(address, METADATA)
    assert is_open(DEFAULT, address) is is_global


@given(ADDRESSES, WORDS)
def test_ranges_are_added_and_nothing_else_is_with_them(address, words):
    ranges = [ip_network(word) for word in words if word != "internet"]
    expected = not within(address, METADATA) and (
        within(address, ranges) or ("internet" in words and is_open(DEFAULT, address))
    )
    assert is_open(words, address) is expected


@given(st.sampled_from(RANGES), st.data())
def test_each_address_of_a_range_is_open_but_metadata(entry, data):
    network = ip_network(entry)
    address = network[data.draw(st.integers(0, network.num_addresses - 1))]
    assert is_open((entry,), address) is not within(address, METADATA)


@given(ADDRESSES)
def test_all_is_everything_but_metadata_and_none_is_nothing(address):
    assert is_open((ALL,), address) is not within(address, METADATA)
    assert not is_open((NONE,), address)


@pytest.mark.parametrize("network", [*METADATA])
def test_metadata_is_shut_whatever_is_said(network):
    around = str(network.supernet(4))
    for egress in (DEFAULT, (ALL,), (around,), ("internet", around)):
        assert not is_open(egress, network[0])
        assert not is_open(egress, network[-1])


def test_the_rules_name_only_this_hubs_bridges_and_ranges_that_overlap_are_one():
    script = make_ruleset(
        "t-1",
        ("internet", "10.20.0.0/16", "10.0.0.0/8", "10.20.30.40/32"),
        [ip_address("10.1.1.1")],
    )
    assert "table inet mlhub_t_1 {" in script
    assert script.count('iifname != "mh-t_1-*" accept') == 3
    # Of others' it names one thing: that nothing of ours gets in there.
    assert [line.strip() for line in script.splitlines() if '"mh-*"' in line] == [
        'fib daddr oifname "mh-*" fib daddr . iif oif missing drop'
    ]
    assert "fib" not in make_ruleset("t-1", separates=False)  # for a kernel that has none
    assert "ip daddr { 10.0.0.0/8 } accept" in script
    assert "10.20." not in script
    assert (
        script.count("ip daddr { 10.1.1.1/32 } meta l4proto { tcp, udp } th dport 53 accept") == 2
    )


def test_nameservers_are_read_as_resolv_conf_writes_them():
    text = (
        "# nameserver 10.0.0.1\nsearch example.org\nnameserver 10.0.0.2\nnameserver"
        " 127.0.0.53\nnameserver fe80::1%eth0\nnameserver\noptions ndots:0\n"
    )
    assert parse_nameservers(text) == [ip_address("10.0.0.2"), ip_address("fe80::1")]


@pytest.mark.parametrize(
    ("network_name", "host_config", "said"),
    [
        ("shared", {}, "network_name puts them into the network 'shared'"),
        (
            "",
            {"network_mode": "host"},
            "extra_host_config: network_mode puts them into the network 'host'",
        ),
    ],
)
def test_a_network_that_is_not_the_hubs_has_no_rules_and_that_is_said(
    network_name, host_config, said, caplog
):
    check_networks((ALL,), network_name, host_config)
    assert not caplog.records
    check_networks(DEFAULT, network_name, host_config)
    assert said in caplog.text
    with pytest.raises(
        ConfigurationError, match=r"MLHUB_WORKSPACE_EGRESS=none does not hold: .*not this hub's"
    ):
        check_networks((NONE,), network_name, host_config)


def test_nameservers_of_a_sites_own_that_are_shut_are_named(caplog):
    for quiet in ({}, {"network_mode": "none"}, {"dns": ["8.8.8.8"]}, lambda spawner: {}):
        check_networks(DEFAULT, "", quiet)
    check_networks(("internet", "10.1.0.0/16"), "", {"dns": ["10.1.2.3"]})
    assert not caplog.records
    check_networks(DEFAULT, "", {"dns": ["10.1.2.3", "8.8.8.8"]})
    assert (
        "names nameservers that workspaces cannot reach: 10.1.2.3. Add them to"
        " MLHUB_WORKSPACE_EGRESS=internet." in caplog.text
    )


def test_the_chart_means_the_same_by_internet():
    text = (
        Path(__file__).parents[2] / "helmchart/mlhub/templates/singleuser/_ranges.tpl"
    ).read_text()

    def ranges(name: str) -> set[str]:
        (found,) = re.findall(rf'define "mlhub\.{name}" -}}}}\n(.*)\n{{{{- end', text)
        return set(found.split())

    assert ranges("metadataRanges") == {
        str(network) for network in METADATA if network.version == 4
    }
    assert ranges("metadataRanges6") == {
        str(network) for network in METADATA if network.version == 6
    }
    shut = ranges("privateRanges") | ranges("specialRanges") | ranges("metadataRanges")
    assert shut == {str(network) for network in (*PRIVATE, *METADATA) if network.version == 4}
