"""What the site may change of a workspace's confinement, and what not.

What is known about images.
"""

import pytest

from mlhub.backends.docker.hardening import brings_init, make_host_config, merge_host_config
from mlhub.errors import ConfigurationError
from mlhub.options.images import find_image_settings


def test_the_configured_values_win_and_lists_are_joined():
    merged = merge_host_config(
        make_host_config(),
        {
            "shm_size": "2g",
            "pids_limit": 99,
            "cap_add": ["SYS_PTRACE"],
            "security_opt": ["label:disable"],
        },
    )
    assert (merged["shm_size"], merged["pids_limit"]) == ("2g", 99)
    assert "SYS_PTRACE" in merged["cap_add"]
    assert "CHOWN" in merged["cap_add"]
    assert merged["security_opt"] == ["no-new-privileges", "label:disable"]
    assert merged["cap_drop"] == ["ALL"]


def test_merging_changes_neither_side():
    ours, configured = make_host_config(), {"cap_add": ["SYS_PTRACE"]}
    merge_host_config(ours, configured)
    assert ours == make_host_config()
    assert configured == {"cap_add": ["SYS_PTRACE"]}


@pytest.mark.parametrize(
    "configured",
    [
        {"cap_add": ["NET_RAW"]},
        {"cap_add": ["cap_net_admin"]},
        {"cap_add": ["ALL"]},
        {"privileged": True},
        {"security_opt": ["no-new-privileges:false"]},
        {"security_opt": ["no-new-privileges=false"]},
        # The engine reads these alike.
        {"security_opt": ["no-new-privileges:0"]},
        {"security_opt": ["no-new-privileges=F"]},
        {"security_opt": ["no-new-privileges:FALSE"]},
        {"pid_mode": "host"},
        {"pid_mode": "container:other"},
        {"ipc_mode": "host"},
        {"ipc_mode": "container:other"},
    ],
)
def test_what_would_take_the_isolation_away_is_refused_with_a_sentence(configured):
    with pytest.raises(ConfigurationError, match="extra_host_config"):
        merge_host_config(make_host_config(), configured)


@pytest.mark.parametrize(
    "configured",
    [
        {"security_opt": ["no-new-privileges:true", "apparmor=mine"]},
        {"ipc_mode": "private", "pid_mode": None},
        {"ipc_mode": "shareable"},
    ],
)
def test_what_takes_nothing_away_is_laid_over_ours(configured):
    merged = merge_host_config(make_host_config(), configured)
    assert merged.items() >= {k: v for k, v in configured.items() if k != "security_opt"}.items()
    assert {"no-new-privileges", *configured.get("security_opt", [])} == {*merged["security_opt"]}


@pytest.mark.parametrize("key", ["binds", "mounts"])
def test_what_would_stand_in_the_place_of_peoples_volumes_is_refused_with_the_cure(key):
    with pytest.raises(ConfigurationError, match=r"write c\.DockerSpawner\.volumes"):
        merge_host_config(make_host_config(), {key: ["/shared:/shared"]})
    assert merge_host_config(make_host_config(), {key: []})[key] == []


def test_an_image_with_an_init_of_its_own_is_recognized():
    assert brings_init(["/usr/bin/tini", "-g", "--"])
    assert brings_init(["dumb-init"])
    assert not brings_init(["/start.sh"])
    assert not brings_init(None)
    assert not brings_init([])


def test_docker_stacks_images_are_known_and_a_site_may_say_otherwise():
    known = find_image_settings("quay.io/jupyter/scipy-notebook:2025-01-01", {})
    assert (known.port, known.mount_point, known.notebook_dir, known.cmd) == (
        8888,
        "/home/jovyan",
        "/home/jovyan",
        None,
    )
    changed = find_image_settings(
        "quay.io/jupyter/scipy-notebook:1",
        {"quay.io/jupyter/scipy*": {"port": 9999, "cmd": "start.sh"}},
    )
    assert (changed.port, changed.mount_point, changed.cmd) == (9999, "/home/jovyan", ("start.sh",))


def test_the_longest_pattern_wins():
    configured = {
        "*": {"port": 1},
        "my/image:2": {"port": 3},
        "my/*": {"port": 2, "mount_point": "/data"},
    }
    found = find_image_settings("my/image:2", configured)
    assert (found.port, found.mount_point) == (3, "/data")
    assert find_image_settings("other", configured).port == 1


@pytest.mark.parametrize(
    "entry",
    [{"prot": 1}, {"port": 0}, {"port": "x"}, {"port": True}, {"mount_point": "home"}, "8888"],
)
def test_a_malformed_entry_is_refused_with_a_sentence(entry):
    with pytest.raises(ConfigurationError, match="image_settings"):
        find_image_settings("a", {"a": entry})
