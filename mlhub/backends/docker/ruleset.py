"""The nft script that holds workspaces to what they may reach. Pure: no I/O.

The table only drops, and only packets that come in through the bridges of this hub's networks: all
that is for the host itself but answers to what the host asked, and what ``mlhub.egress`` does not
open. Its chains stand before those of Docker and firewalld, and a drop is final whatever others
accept. Containers on one bridge, the hub among them, are not affected.

What keeps people apart does not rest on Docker's own rules. Engines up to 27 take the jump to them
out of the chain and put it back whenever a network is made, so that for some milliseconds nothing
stands between any two networks
(https://github.com/moby/moby/blob/v20.10.24/vendor/github.com/docker/libnetwork/iptables/iptables.go#L591);
a reload of the host's firewall, or a restart of the engine under running containers, takes longer.

Docker's DNS (127.0.0.11) asks the host's nameservers from inside the workspace's own network
namespace (https://github.com/moby/moby/blob/v28.2.2/daemon/libnetwork/resolver.go), so these stay
open, port 53 alone. They are often private, an address of the host itself, or the very address of
the cloud's metadata.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from mlhub.egress import DEFAULT, EVERYTHING, Network, collapse, make_rules
from mlhub.identity import BRIDGES, make_bridge_prefix

Address = IPv4Address | IPv6Address

_BETWEEN = "\n    "
# Before Docker's own rules (priority 0). Neighbor discovery is IPv6's ARP: without it the host is
# no gateway.
_TABLE = """
table inet {table} {{}}
delete table inet {table}
table inet {table} {{{separation}
  chain input {{
    type filter hook input priority -10; policy accept;
    iifname != {bridges} accept
    ct state established,related accept
    icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} accept
    {dns}
    drop
  }}
  chain forward {{
    type filter hook forward priority -10; policy accept;
    iifname != {bridges} accept
    ct state established,related accept
    oifname {bridges} accept
    {rules}
  }}
}}
"""
# What comes in by one bridge and would leave by another one of ours, or of another hub's. Behind
# the translation of destinations (priority -100), so that no port published elsewhere is a way
# around. A packet inside of one bridge may come by here as well (br_netfilter): its destination is
# found where it came in.
_SEPARATION = """
  chain separation {{
    type filter hook prerouting priority -10; policy accept;
    iifname != {bridges} accept
    fib daddr oifname {every} fib daddr . iif oif missing drop
  }}"""


def make_table_name(hub: str) -> str:
    """Make the name of the hub's table."""
    return f"mlhub_{hub.replace('-', '_')}"


def make_ruleset(
    hub: str,
    egress: Sequence[str] = DEFAULT,
    nameservers: Sequence[Address] = (),
    separates: bool = True,
) -> str:
    """Make the nft script that puts the hub's table in place, whatever stood there before.

    ``separates=False`` leaves it to Docker to keep networks apart, for kernels without nft_fib.
    """
    dns = [
        f"{place} meta l4proto {{ tcp, udp }} th dport 53 accept"
        for place in _match(collapse(map(ip_network, nameservers)))
    ]
    rules = [
        f"{place} {'accept' if rule.is_open else 'drop'}".strip()
        for rule in make_rules(egress)
        for place in _match(rule.networks)
    ]
    names = {"table": make_table_name(hub), "bridges": f'"{make_bridge_prefix(hub)}*"'}
    return _TABLE.format(
        **names,
        separation=_SEPARATION.format(**names, every=f'"{BRIDGES}*"') if separates else "",
        dns=_BETWEEN.join(dns),
        rules=_BETWEEN.join([*dns, *rules]),
    )


def parse_nameservers(text: str) -> list[Address]:
    """Parse the nameservers of a resolv.conf (resolv.conf(5)); those of the container itself are
    none.
    """
    words = [line.split() for line in text.splitlines()]
    named = [
        ip_address(each[1].partition("%")[0])
        for each in words
        if len(each) > 1 and each[0] == "nameserver"
    ]
    return [address for address in named if not address.is_loopback]


def _match(networks: Sequence[Network]) -> list[str]:
    if networks == EVERYTHING:
        return [""]
    families = {
        "ip": [str(net) for net in networks if net.version == 4],
        "ip6": [str(net) for net in networks if net.version == 6],
    }
    return [
        f"{family} daddr {{ {', '.join(found)} }}" for family, found in families.items() if found
    ]
