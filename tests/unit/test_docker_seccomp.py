"""Which engines' own seccomp profile is replaced, and what a site says about it."""

import json

import pytest

from mlhub.backends.docker.hardening import make_host_config
from mlhub.backends.docker.seccomp import confine, is_needed, make_profile

DEFAULT = "name=seccomp,profile=default"


def engine(version, name="Engine", architecture="amd64"):
    components = [{"Name": name}, {"Name": "containerd"}]
    return {"Version": version, "Components": components, "Arch": architecture}


@pytest.mark.parametrize(
    ("version", "options", "is_replaced"),
    [
        (engine("20.10.24+dfsg1"), [DEFAULT], True),
        (engine("24.0.9"), ["name=apparmor", DEFAULT], True),
        (engine("24.0.9"), ["name=seccomp,profile=builtin", "name=cgroupns"], True),
        (engine("25.0.0"), [DEFAULT], True),
        (engine("28.2.2"), ["name=seccomp,profile=builtin"], True),
        (engine("29.0.0"), [DEFAULT], False),
        (engine("24.0.9"), ["name=seccomp,profile=/etc/docker/own.json"], False),
        (engine("24.0.9"), ["name=seccomp,profile=unconfined"], False),
        (engine("24.0.9"), ["name=apparmor"], False),  # a kernel without seccomp
        (engine("4.9.3", "Podman Engine"), [DEFAULT], False),
        (engine("dev"), [DEFAULT], False),
        (engine("24.0.9", architecture="arm64"), [DEFAULT], True),
        (engine("24.0.9", architecture="s390x"), [DEFAULT], False),
        ({}, [], False),
    ],
)
def test_only_the_default_of_an_old_engine_is_replaced(version, options, is_replaced):
    assert is_needed(version, options) is is_replaced


def test_the_profile_lets_no_io_uring_and_no_vsock_through_and_is_denied_by_default():
    profile = json.loads(make_profile())
    allowed = [rule for rule in profile["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW"]
    names = {name for rule in allowed for name in rule["names"]}
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    assert {"read", "clone", "execve", "socket"} <= names
    assert not [name for name in names if name.startswith("io_uring")]
    # Nor AF_ALG (38), by which files of an image that others use, too, could be written to.
    sockets = [each for rule in allowed if rule["names"] == ["socket"] for each in rule["args"]]
    kept = {38: "LT", 39: "EQ", 40: "GT"}
    assert {each["value"]: each["op"].removeprefix("SCMP_CMP_") for each in sockets} == kept
    # And no call that gets any socket, whatever "socket" may.
    assert "socketcall" not in names
    (denied,) = [rule for rule in profile["syscalls"] if rule["names"] == ["socketcall"]]
    assert (denied["action"], denied["errnoRet"]) == ("SCMP_ACT_ERRNO", 38)


@pytest.mark.parametrize("own", ["seccomp=unconfined", "seccomp:unconfined", "seccomp={}"])
def test_a_profile_of_the_sites_own_has_the_last_word(own):
    ours, theirs = make_host_config(), {"security_opt": ["no-new-privileges", own]}
    confine(ours, "{}")
    confine(theirs, "{...}")
    assert ours["security_opt"] == ["no-new-privileges", "seccomp={}"]
    assert theirs["security_opt"] == ["no-new-privileges", own]
