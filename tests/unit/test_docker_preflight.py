"""What is refused before anything is created, and with which words."""

import re

import pytest

from mlhub.backends.docker.preflight import (
    LABEL_HUB_VERSION,
    check_disk,
    check_image,
    find_hub_version,
    judge_hub_version,
    read_free_disk,
)
from mlhub.errors import CapacityError, ImageError

GIB = 2**30
AMD64 = {"Os": "linux", "Arch": "amd64"}


def make_image(os="linux", architecture="amd64", **config):
    return {"Os": os, "Architecture": architecture, "Config": {"Cmd": ["run"], **config}}


@pytest.mark.parametrize("architecture", ["amd64", "386", ""])
def test_what_runs_here_or_does_not_tell_is_let_through(architecture):
    check_image(make_image(architecture=architecture), AMD64, "a:1", None, [])


@pytest.mark.parametrize(("os", "architecture"), [("linux", "arm64"), ("windows", "amd64")])
def test_an_image_for_another_platform_is_refused_unless_the_site_names_the_platform(
    os, architecture
):
    image = make_image(os, architecture)
    with pytest.raises(
        ImageError, match=f"is made for {os}/{architecture}, the Docker host is linux/amd64"
    ):
        check_image(image, AMD64, "a:1", None, [])
    check_image(image, AMD64, "a:1", f"{os}/{architecture}", [])


def test_an_image_without_anything_to_start_is_refused():
    with pytest.raises(ImageError, match="nothing about what to start"):
        check_image(make_image(Cmd=None), AMD64, "a:1", None, [])
    check_image(make_image(Cmd=None), AMD64, "a:1", None, ["jupyterhub-singleuser"])
    check_image(make_image(Cmd=None, Entrypoint=["/start"]), AMD64, "a:1", None, [])


@pytest.mark.parametrize(
    ("config", "reference", "version"),
    [
        ({"Labels": {LABEL_HUB_VERSION: "5.2.1"}}, "a:1", "5.2.1"),
        ({"Env": ["PATH=/bin", "JUPYTERHUB_VERSION=4.1.0"]}, "a:1", "4.1.0"),
        ({}, "quay.io/jupyterhub/singleuser:5.4.0", "5.4.0"),
        ({}, "jupyterhub/k8s-singleuser-sample:4.2.0", "4.2.0"),
        ({}, "quay.io/jupyter/base-notebook:hub-5.2.1", "5.2.1"),
        ({}, "quay.io/jupyter/base-notebook:2025-01-01", ""),
        ({}, "company/singleuser:3.1", ""),
        ({"Labels": {LABEL_HUB_VERSION: "main"}}, "a:1", ""),
        ({"Labels": None, "Env": None}, "a:1", ""),
    ],
)
def test_the_hub_version_is_found_where_the_image_tells(config, reference, version):
    assert find_hub_version(make_image(**config), reference) == version


def test_another_major_version_is_a_warning_and_one_from_before_1_is_refused():
    assert judge_hub_version("", "6.1.1", "a:1") == ""
    assert judge_hub_version("6.0.0", "6.1.1", "a:1") == ""
    assert "5.2.1, the hub is 6.1.1" in judge_hub_version("5.2.1", "6.1.1", "a:1")
    with pytest.raises(ImageError, match="too old"):
        judge_hub_version("0.9.6", "6.1.1", "a:1")


def test_a_disk_below_the_reserve_is_refused_and_an_unknown_one_is_not():
    check_disk(None, GIB)
    check_disk(GIB, GIB)
    check_disk(0, 0)
    with pytest.raises(CapacityError, match=r"0\.5 GiB of disk left"):
        check_disk(GIB // 2, GIB)


def test_free_disk_is_read_where_the_engine_is_here(tmp_path):
    info = {"DockerRootDir": str(tmp_path)}
    assert read_free_disk(info, is_local=True, is_container=False) > 0
    assert read_free_disk({}, is_local=True, is_container=True) > 0
    assert read_free_disk(info, is_local=False, is_container=False) is None
    assert (
        read_free_disk({"DockerRootDir": "/no/such/place"}, is_local=True, is_container=False)
        is None
    )


def test_our_own_workspace_image_tells_the_version_that_its_lock_file_has(root):
    (label,) = re.findall(
        rf'{LABEL_HUB_VERSION}="([^"]+)"', (root / "docker/workspace/Dockerfile").read_text()
    )
    assert f"jupyterhub=={label} " in (root / "docker/requirements/workspace.txt").read_text()
