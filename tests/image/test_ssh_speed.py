"""What the bastion costs, as ratios of one run: against the same two OpenSSH hops set up by hand,
without any look-up.
"""

from __future__ import annotations

import json
import secrets
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.hub_container import IMAGE, RUN, Hub, docker
from tests.support.ssh_client import Person

ROUNDS = 9
BULK_BYTES = 200_000_000
# A second sshd in the workspace that asks nobody: the same program and options, with a plain file
# of keys.
BY_HAND_INSIDE = """
cd /dev/shm
grep -v -e ^AuthorizedKeysCommand -e ^Include .mlhub-ssh-0-config > by-hand
sed -e 's,^AuthorizedKeysFile.*,AuthorizedKeysFile /dev/shm/by-hand-keys,' \
-e 's,^Port.*,Port 2224,' -e '/^Ciphers/d' /.mlhub/sshd_config >> by-hand
export LD_PRELOAD=/.mlhub/lib/libnss_wrapper.so NSS_WRAPPER_PASSWD=/dev/shm/.mlhub-ssh-0-passwd \
NSS_WRAPPER_GROUP=/dev/shm/.mlhub-ssh-0-group
exec /.mlhub/bin/sshd -f /dev/shm/by-hand
"""
BY_HAND_BASTION = """
chown root:root /run/sshd
ssh-keygen -q -t ed25519 -N '' -f /tmp/host
printf '%s\\n' "$KEY" > /tmp/keys
exec /usr/sbin/sshd -D -e -p 2222 -o HostKey=/tmp/host -o AuthorizedKeysFile=/tmp/keys \
-o StrictModes=no -o UsePAM=no -o PermitRootLogin=yes
"""


@pytest.fixture(scope="module")
def person(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Person:
    """Return somebody with a running workspace; both ways begin at a port that the engine
    publishes.
    """
    hub.start_workspace("ann")
    return Person(hub, "ann", tmp_path_factory.mktemp("ann") / "ssh").join()


@pytest.fixture(scope="module")
def by_hand(hub: Hub, person: Person, wait_for: Callable) -> Iterator[list[str]]:
    """Set two plain hops up; return the ssh command that goes through them."""
    workspace, name = f"ws-{hub.name}--ann", f"mlhub-test-{secrets.token_hex(4)}"
    key = person.key.with_suffix(".pub").read_text().strip()
    (network,) = json.loads(
        docker("inspect", "--format", "{{json .NetworkSettings.Networks}}", workspace)
    )
    docker(
        "run", "--detach", "--name", name, "--label", f"mlhub.test={RUN}",
        "--network", network, "--publish", "127.0.0.1::2222", "--user", "root",
        "--env", f"KEY={key}", "--entrypoint", "sh", IMAGE, "-c", BY_HAND_BASTION,
    )  # fmt: skip
    docker("exec", workspace, "sh", "-c", f"umask 077; echo '{key}' > /dev/shm/by-hand-keys")
    docker("exec", workspace, "sh", "-c", BY_HAND_INSIDE)
    port = docker("port", name, "2222/tcp").splitlines()[0].rsplit(":", 1)[1]
    options = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
    hop = " ".join(
        [
            "ssh",
            "-F",
            str(person.config),
            *options,
            "-p",
            port,
            "-W",
            f"{workspace}:2224",
            "root@127.0.0.1",
        ]
    )
    command = [
        *options,
        "-o",
        f"ProxyCommand={hop}",
        "-o",
        "HostKeyAlias=by-hand",
        "workspace@by-hand",
    ]
    wait_for(lambda: person.run(*command, "true").returncode == 0, "the hops by hand work", 20)
    yield command
    docker("rm", "--force", "--volumes", name)


def compare(person: Person, by_hand: list[str], command: str, rounds: int) -> float:
    """Return how long a command takes through the bastion, over the same by hand: medians of rounds
    that alternate.
    """
    ways = {"bastion": [person.alias], "by hand": by_hand}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, words in ways.items():
            began = time.perf_counter()
            assert person.run(*words, command).returncode == 0
            seconds[name].append(time.perf_counter() - began)
    return statistics.median(seconds["bastion"]) / statistics.median(seconds["by hand"])


def find_ratio(enough: float, *compared: Any) -> float:
    """Compare once; again, at most twice, where it was not good enough: other work on the machine
    comes in bursts.
    """
    ratios: list[float] = []
    while len(ratios) < 3 and min(ratios, default=enough + 1) > enough:
        ratios.append(compare(*compared))
    print("ratios:", ratios)
    return min(ratios)


@pytest.mark.full
def test_a_prompt_costs_at_most_half_more_than_two_plain_hops(person: Person, by_hand: list[str]):
    assert find_ratio(1.5, person, by_hand, "true", ROUNDS) <= 1.5


@pytest.mark.full
def test_bulk_goes_nearly_as_fast_as_through_two_plain_hops(person: Person, by_hand: list[str]):
    assert find_ratio(1 / 0.9, person, by_hand, f"head -c {BULK_BYTES} /dev/zero", 5) <= 1 / 0.9
