"""What workspaces may reach outside of the hub and their owner's own network, as a list of rules.
Pure: no I/O.

``internet`` is what the registries of special addresses call globally reachable; the addresses at
which clouds hand out a machine's credentials are reached by nobody, whatever is allowed.
https://www.iana.org/assignments/iana-ipv4-special-registry,
https://www.iana.org/assignments/iana-ipv6-special-registry
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    collapse_addresses,
    ip_network,
)
from typing import NamedTuple

Network = IPv4Network | IPv6Network
INTERNET, ALL, NONE = "internet", "all", "none"
DEFAULT = (INTERNET,)
EXAMPLE = (
    "Write e.g. internet, or internet,10.20.0.0/16 to add a network of the site's, or all, or none."
)

# Link-local, by which most clouds do it, and those that have another address for it: Azure,
# Alibaba, Oracle; Amazon and Google by IPv6.
METADATA = tuple(
    map(
        ip_network,
        (
            "169.254.0.0/16",
            "168.63.129.16/32",
            "100.100.100.200/32",
            "192.0.0.192/32",
            "fe80::/10",
            "fd00:ec2::254/128",
            "fd20:ce::254/128",
        ),
    )
)
# Ranges for documentation (203.0.113.0/24 and others) are not among them: nobody has these.
PRIVATE = tuple(
    map(
        ip_network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.168.0.0/16",
            "198.18.0.0/15",
            "224.0.0.0/4",
            "240.0.0.0/4",
            # Of IPv6 only 2000::/3 is handed out; within it, these carry an IPv4 address that may
            # be private.
            "::/3",
            "2001::/23",
            "2002::/16",
            "4000::/2",
            "8000::/1",
        ),
    )
)
EVERYTHING = (ip_network("0.0.0.0/0"), ip_network("::/0"))


class Rule(NamedTuple):
    """Whether these networks are open; the first rule that holds an address decides."""

    networks: tuple[Network, ...]
    is_open: bool


def normalize_egress(entries: Sequence[str]) -> tuple[str, ...]:
    """Return one spelling of a site's words and ranges.

    Raises ``ValueError`` with a sentence, which begins behind the setting's name.
    """
    found = tuple(dict.fromkeys(_normalize_entry(entry) for entry in entries))
    if not found:
        raise ValueError(f"names nothing. {EXAMPLE}")
    for word in (ALL, NONE):
        if word in found and len(found) > 1:
            raise ValueError(
                f"has {word!r} beside {', '.join(sorted(set(found) - {word}))}, but {word!r} stands"
                f" alone. {EXAMPLE}"
            )
    return found


def _normalize_entry(entry: str) -> str:
    if (word := entry.strip().lower()) in (INTERNET, ALL, NONE):
        return word
    try:
        network = ip_network(word)
    except ValueError as error:
        cure = EXAMPLE
        if "has host bits set" in str(error):
            cure = (
                f"Write {ip_network(word, strict=False)} for the range, or {word.partition('/')[0]}"
                " for the one address."
            )
        raise ValueError(
            f"has the entry {entry!r}, which is neither a word that is known nor an address or"
            f" range. {cure}"
        ) from None
    if "%" in word:
        raise ValueError(
            f"has the entry {entry!r}, whose zone means something on one machine only. Write it"
            f" without {word[word.index('%') :]!r}."
        )
    if network in EVERYTHING:
        raise ValueError(f"has the entry {entry!r}, which is every address. Write all.")
    if network.version == 6 and network.subnet_of(IPv6Network("::ffff:0:0/96")):
        raise ValueError(
            f"has the entry {entry!r}, an IPv4 address in the clothes of IPv6. Write it as IPv4."
        )
    if any(network.version == other.version and network.subnet_of(other) for other in METADATA):  # type: ignore[arg-type]
        raise ValueError(
            f"has the entry {entry!r}, by which clouds hand out a machine's credentials: that is"
            " never open to workspaces. Remove it."
        )
    return str(network)


def is_binding(egress: Sequence[str]) -> bool:
    """Return True if a site asked for something that it must not be without: neither the default
    nor everything.
    """
    return tuple(egress) not in (DEFAULT, (ALL,))


def make_rules(egress: Sequence[str]) -> list[Rule]:
    """Make the rules for what a site has written; the last one holds every address."""
    ranges = [ip_network(entry) for entry in egress if entry not in (INTERNET, ALL, NONE)]
    rules = [Rule(METADATA, False)]
    if ranges:
        rules.append(Rule(collapse(ranges), True))
    if INTERNET in egress:
        rules.append(Rule(PRIVATE, False))
    return [*rules, Rule(EVERYTHING, INTERNET in egress or ALL in egress)]


def is_open(egress: Sequence[str], address: IPv4Address | IPv6Address) -> bool:
    """Return True if workspaces may reach an address."""
    return next(
        rule.is_open
        for rule in make_rules(egress)
        if any(address in network for network in rule.networks)
    )


def collapse(networks: Iterable[Network]) -> tuple[Network, ...]:
    """Join ranges that overlap or touch, which nftables takes for a contradiction."""
    networks = list(networks)
    version4 = collapse_addresses(
        network for network in networks if isinstance(network, IPv4Network)
    )
    version6 = collapse_addresses(
        network for network in networks if isinstance(network, IPv6Network)
    )
    return (*version4, *version6)
