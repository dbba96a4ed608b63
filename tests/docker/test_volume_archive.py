"""A backup reads volumes of an engine as they are, and makes none."""

from __future__ import annotations

import io
import tarfile

import docker
import pytest

from mlhub.backends.docker.archive import DockerVolumeArchive
from mlhub.backends.volume_archive import KeptVolume
from mlhub.errors import BackendError
from mlhub.identity import LABEL_ORIGIN
from mlhub.settings import Settings
from tests.support.engine import LABEL, make_tar
from tests.support.names import make_hub_name


@pytest.fixture
def hub_name():
    return make_hub_name()


@pytest.fixture
def archive(image, hub_name):
    return DockerVolumeArchive(Settings(hub_name=hub_name), image)


@pytest.fixture
def volume(client, image, hub_name):
    """A volume of the hub's with one file."""
    labels = {**LABEL, LABEL_ORIGIN: hub_name}
    name = client.api.create_volume(f"{hub_name}-ann", labels=labels)["Name"]
    host_config = client.api.create_host_config(binds=[f"{name}:/volume"])
    made = client.api.create_container(image, labels=dict(LABEL), host_config=host_config)["Id"]
    client.api.put_archive(made, "/volume", make_tar("kept", b"words"))
    client.api.remove_container(made)
    return KeptVolume(name, labels)


def read(archive, name):
    with archive.read(name) as content:
        whole = b"".join(content)
    with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
        return {each.name: each.isreg() and tar.extractfile(each).read() for each in tar}


def list_helpers(client, hub_name):
    return client.api.containers(all=True, filters={"name": f"{hub_name}-backup-"})


def test_a_volume_that_is_gone_is_said_to_be_and_does_not_come_back_empty(
    client, archive, volume, hub_name
):
    assert archive.list_volumes() == [volume]
    assert read(archive, volume.name) == {"volume": False, "volume/kept": b"words"}
    client.api.remove_volume(volume.name)
    with pytest.raises(BackendError, match=f"There is no volume {volume.name!r} any more"):
        read(archive, volume.name)
    with pytest.raises(docker.errors.NotFound):
        client.api.inspect_volume(volume.name)
    assert list_helpers(client, hub_name) == []


def test_a_volume_whose_storage_does_not_answer_is_a_sentence_and_leaves_no_container(
    client, archive, hub_name
):
    labels = {**LABEL, LABEL_ORIGIN: hub_name}
    options = {"type": "nfs", "o": "addr=127.0.0.1,soft,timeo=1,retrans=0", "device": ":/none"}
    name = client.api.create_volume(f"{hub_name}-bob", "local", options, labels)["Name"]
    with pytest.raises(BackendError):
        read(archive, name)
    assert list_helpers(client, hub_name) == []
    assert client.api.inspect_volume(name)["Labels"] == labels
