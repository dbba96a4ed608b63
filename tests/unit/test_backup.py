"""A backup brings back what it holds, or nothing; a damaged or hostile one leaves no trace."""

from __future__ import annotations

import errno
import io
import json
import os
import sqlite3
import tarfile
import tempfile
import threading
import tracemalloc
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlhub.backends.volume_archive import KeptVolume
from mlhub.cleanup import archive, backup, backup_cli, restore
from mlhub.cleanup.archive import Writer
from mlhub.cleanup.missing import Missing
from mlhub.cleanup.restore import restore_backup
from mlhub.cli.__main__ import main
from mlhub.errors import BackendError, BackupError, NameTakenError
from mlhub.settings import Settings

LABELS = {"mlhub.origin": "mlhub", "mlhub.user_name": "ana", "mlhub.server_name": ""}


class Folders:
    """Volumes that are tar archives in memory."""

    def __init__(self, **volumes):
        self.volumes = {name: (LABELS, content) for name, content in volumes.items()}

    def list_volumes(self):
        return [KeptVolume(name, labels) for name, (labels, _) in sorted(self.volumes.items())]

    @contextmanager
    def read(self, name):
        content = self.volumes[name][1]
        yield iter([content[i : i + 1000] for i in range(0, len(content), 1000)])

    def create(self, volume):
        if volume.name in self.volumes:
            raise NameTakenError(f"There is a volume {volume.name!r}.")
        self.volumes[volume.name] = (volume.labels, b"")

    def write(self, name, content):
        self.volumes[name] = (self.volumes[name][0], b"".join(content))

    def remove(self, name):
        del self.volumes[name]


def make_volume(**files):
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w") as tar:
        root = tarfile.TarInfo("volume")
        root.type, root.mode, root.uid = tarfile.DIRTYPE, 0o750, 1000
        tar.addfile(root)
        for name, content in files.items():
            member = tarfile.TarInfo(f"volume/{name}")
            member.size, member.uid, member.mode = len(content), 1000, 0o640
            tar.addfile(member, io.BytesIO(content))
        for kind, name in ((tarfile.SYMTYPE, "soft"), (tarfile.LNKTYPE, "hard")):
            if files:
                first = next(iter(files))
                member = tarfile.TarInfo(f"volume/{name}")
                member.type = kind
                member.linkname = first if kind == tarfile.SYMTYPE else f"volume/{first}"
                tar.addfile(member)
    return output.getvalue()


def read_volume(content):
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        return [
            (m.name, m.type, m.mode, m.uid, m.linkname, m.isreg() and tar.extractfile(m).read())
            for m in tar
        ]


def make_settings(folder, **variables):
    (folder / "data").mkdir(parents=True, exist_ok=True)
    (folder / "resources").mkdir(exist_ok=True)
    return Settings.from_environment(
        {
            "DATA_VOLUME_CONTAINER": str(folder / "data"),
            "MLHUB_RESOURCES_DIR": str(folder / "resources"),
            "POLICY_FILE": str(folder / "resources" / "policy.yaml"),
            **variables,
        }
    )


@pytest.fixture
def site(tmp_path):
    """A hub's files as they lie after some use."""
    settings = make_settings(tmp_path / "before")
    data = settings.data_volume_container
    with sqlite3.connect(data / "jupyterhub.sqlite") as database:
        database.execute("create table people (name text)")
        database.execute("insert into people values ('ana')")
    (data / "jupyterhub_cookie_secret").write_text("secret")
    (data / "jupyterhub_cookie_secret").chmod(0o600)
    (data / "ssh").mkdir(mode=0o700)
    (data / "ssh" / "host_key").write_text("key")
    (data / "ssh" / "pointer").symlink_to("/etc/passwd")
    (data / "homes").mkdir()
    (settings.mlhub_resources_dir / "policy.yaml").write_text("limits: {}")
    return settings


def write(settings, volumes=None, monkeypatch=None):
    if volumes is not None:
        monkeypatch.setattr(backup, "open_volumes", lambda _: volumes)
        monkeypatch.setattr(restore, "open_volumes", lambda _: volumes)
    output = io.BytesIO()
    backup.make_backup(settings, output, lambda line: None, with_volumes=volumes is not None)
    return output.getvalue()


def bring_back(settings, content):
    lines = []
    restore_backup(settings, io.BytesIO(content), lines.append)
    return lines


def test_what_the_hub_keeps_comes_back_with_its_modes_and_nothing_of_the_sites_own(site, tmp_path):
    after = make_settings(tmp_path / "after")
    lines = bring_back(after, write(site))
    data = after.data_volume_container
    assert sqlite3.connect(data / "jupyterhub.sqlite").execute(
        "select name from people"
    ).fetchall() == [("ana",)]
    assert (data / "jupyterhub_cookie_secret").read_text() == "secret"
    assert (data / "jupyterhub_cookie_secret").stat().st_mode & 0o777 == 0o600
    assert (data / "ssh").stat().st_mode & 0o777 == 0o700
    assert sorted(path.name for path in (data / "ssh").iterdir()) == ["host_key"]
    assert (data / "restored-resources" / "policy.yaml").read_text() == "limits: {}"
    assert not (data / "homes").exists()
    assert any("take effect where they are mounted" in line for line in lines)
    assert sorted(path.name for path in data.iterdir()) == [
        "jupyterhub.sqlite",
        "jupyterhub_cookie_secret",
        "restored-resources",
        "ssh",
    ]


def test_the_database_is_as_it_was_at_one_moment_while_it_is_written(site, tmp_path):
    file = site.data_volume_container / "jupyterhub.sqlite"
    with sqlite3.connect(file) as database:
        database.execute("pragma journal_mode=wal")
        database.execute("create table pairs (one integer, other integer)")
    is_over, written = threading.Event(), threading.Event()

    def write_on():
        with sqlite3.connect(file) as database:
            number = 0
            while not is_over.is_set():
                number += 1
                with database:
                    database.execute("insert into pairs values (?, 0)", [number])
                    database.execute("update pairs set other = one where one = ?", [number])
                written.set()

    writer = threading.Thread(target=write_on)
    writer.start()
    assert written.wait(10)
    content = write(site)
    is_over.set()
    writer.join()
    after = make_settings(tmp_path / "after")
    bring_back(after, content)
    copy = sqlite3.connect(after.data_volume_container / "jupyterhub.sqlite")
    assert copy.execute("pragma integrity_check").fetchall() == [("ok",)]
    assert copy.execute("select count(*) > 0, sum(one <> other) from pairs").fetchall() == [(1, 0)]


def test_volumes_come_back_byte_for_byte_with_owners_modes_and_links(site, tmp_path, monkeypatch):
    before = Folders(
        one=make_volume(**{"work/notes.txt": b"mine", "big": os.urandom(300_000), "ü" * 90: b""}),
        marker=make_volume(),
    )
    content = write(site, before, monkeypatch)
    again = Folders()
    monkeypatch.setattr(restore, "open_volumes", lambda _: again)
    bring_back(make_settings(tmp_path / "after"), content)
    assert again.list_volumes() == before.list_volumes()
    for name, (_, files) in before.volumes.items():
        assert read_volume(again.volumes[name][1]) == read_volume(files)


@given(sizes=st.lists(st.sampled_from([0, 1, 511, 512, 513, 10240, 65536, 70000]), max_size=6))
def test_files_of_any_size_come_back_whole(sizes):
    content = make_volume(
        **{f"file-{number}": os.urandom(size) for number, size in enumerate(sizes)}
    )
    output = io.BytesIO()
    writer = Writer(output)
    writer.add_volume(1, iter([content]), Missing())
    writer.close()
    got = []
    reader = archive.Reader(io.BytesIO(output.getvalue()))
    reader.copy_volume(1, lambda pieces: got.append(b"".join(pieces)))
    assert read_volume(got[0]) == read_volume(content)
    assert reader.member is None


def test_however_many_files_there_are_none_is_kept_in_mind():
    def stream():
        for number in range(5_000):
            yield tarfile.TarInfo(f"volume/{number}").tobuf()
        yield bytes(1024)

    class Pipe(io.RawIOBase):
        """As long as it is, it takes no room."""

        def write(self, data):
            disk.write(data)
            return len(data)

    with tempfile.TemporaryFile() as disk:
        tracemalloc.start()
        try:
            writer = Writer(Pipe())
            writer.add_volume(1, stream(), Missing())
            writer.close()
            disk.seek(0)
            reader, sizes = archive.Reader(disk), []
            reader.copy_volume(1, lambda pieces: sizes.extend(map(len, pieces)))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert sum(sizes) > 5_000 * 512
    assert peak < 2**20


def test_a_backup_that_was_cut_off_restores_nothing_wherever_that_was(site, tmp_path, monkeypatch):
    content = write(site, Folders(one=make_volume(a=b"x" * 5000)), monkeypatch)
    for part in range(1, 10):
        volumes, after = Folders(), make_settings(tmp_path / f"after-{part}")
        monkeypatch.setattr(restore, "open_volumes", lambda _, volumes=volumes: volumes)
        with pytest.raises(BackupError):
            bring_back(after, content[: len(content) * part // 12])
        assert volumes.volumes == {}
        assert list(after.data_volume_container.iterdir()) == []


def test_a_volume_that_is_there_stays_and_so_does_the_empty_place(site, tmp_path, monkeypatch):
    content = write(site, Folders(one=make_volume(), two=make_volume()), monkeypatch)
    volumes, after = Folders(two=b"mine"), make_settings(tmp_path / "after")
    monkeypatch.setattr(restore, "open_volumes", lambda _: volumes)
    with pytest.raises(NameTakenError):
        bring_back(after, content)
    assert volumes.volumes == {"two": (LABELS, b"mine")}
    assert list(after.data_volume_container.iterdir()) == []


def test_an_engine_that_fails_while_it_is_written_to_ends_the_restoration(
    site, tmp_path, monkeypatch
):
    content = write(site, Folders(one=make_volume(a=b"x" * 500_000)), monkeypatch)

    class Failing(Folders):
        def write(self, name, content):
            next(iter(content))
            raise BackupError("The disk is full.")

    volumes = Failing()
    monkeypatch.setattr(restore, "open_volumes", lambda _: volumes)
    with pytest.raises(BackupError, match="disk is full"):
        bring_back(make_settings(tmp_path / "after"), content)
    assert volumes.volumes == {}


class Breaking(Folders):
    """Volumes that are gone, that break, or that end early, after so many bytes."""

    def __init__(self, **volumes):
        super().__init__(**volumes)
        self.gone, self.breaks, self.cut = set(), {}, {}

    @contextmanager
    def read(self, name):
        if name in self.gone:
            raise BackendError(f"There is no volume {name!r} any more.")
        yield self.stream(name)

    def stream(self, name):
        content = self.volumes[name][1]
        yield content[: self.breaks.get(name, self.cut.get(name))]
        if name in self.breaks:
            raise BackendError("The place went away.\nIt said \x1b[31mno.")


@pytest.fixture
def command(site, tmp_path, monkeypatch, capsys):
    """Return a function that runs the command with some volumes; it returns the exit code, what was
    said, and the archive.
    """

    def run(volumes, *words):
        monkeypatch.setattr(backup_cli, "read_settings", lambda: site)
        monkeypatch.setattr(backup, "open_volumes", lambda _: volumes)
        file = tmp_path / "backup.tar"
        file.unlink(missing_ok=True)
        code = main(["backup", "--volumes", str(file)])
        return code, capsys.readouterr().err, file.read_bytes() if file.exists() else None

    return run


def test_one_volume_that_cannot_be_read_is_named_and_the_others_come(
    command, tmp_path, monkeypatch
):
    parts = {"early": b"x" * 5000, "late": b"y" * 300_000, "last": b"z"}
    volumes = Breaking(ann=make_volume(**parts), bob=make_volume(**parts), cem=make_volume(**parts))
    assert command(volumes)[0] == 0
    volumes.gone, volumes.breaks = {"ann"}, {"bob": 50_000}
    code, said, archived = command(volumes)
    assert code == 3
    assert "Volume 1 of 3: ann, MISSING: There is no volume 'ann' any more\n" in said
    assert "WITHOUT 'late' (the end is lost: The place went away. It said ?[31mno)" in said
    assert "LACKS something of 2 volumes: ann, bob." in said

    again, after = Folders(), make_settings(tmp_path / "after")
    monkeypatch.setattr(restore, "open_volumes", lambda _: again)
    lines = bring_back(after, archived)
    assert again.volumes.keys() == {"bob", "cem"}
    assert read_volume(again.volumes["cem"][1]) == read_volume(volumes.volumes["cem"][1])
    *_, early, late = read_volume(again.volumes["bob"][1])
    assert early[-1] == parts["early"]
    assert late[-1].startswith(b"y" * 20_000)
    assert late[-1].endswith(bytes(200_000))
    assert any("Volume 1: ann is MISSING in the backup: There is no volume" in x for x in lines)
    assert any("Volume 2: the backup is WITHOUT 'late' (the end is lost" in x for x in lines)
    assert any("lacks something of these volumes, as is said above: ann, bob." in x for x in lines)


@pytest.mark.parametrize("at", [512, 1_536, 6_144])
def test_a_volume_that_is_cut_off_between_its_files_is_no_whole_one(command, at):
    volumes = Breaking(ann=make_volume(a=b"x" * 400, b=b"y" * 3000, c=b"z"))
    volumes.cut["ann"] = at
    code, said, _ = command(volumes)
    assert code == 3
    assert "WITHOUT whatever came after (its end did not come)" in said


def test_a_full_disk_ends_a_backup_and_is_taken_for_no_fault_of_a_volume(site, monkeypatch):
    class Full:
        left = 100_000

        def write(self, data):
            if self.left < 0:
                self.left = 10**9  # for what is still to be written when it is forgotten
                raise OSError(errno.ENOSPC, "No space left on device")
            self.left -= len(data)
            return len(data)

    volumes = Folders(ann=make_volume(a=b"x" * 500_000), bob=make_volume())
    monkeypatch.setattr(backup, "open_volumes", lambda _: volumes)
    with pytest.raises(OSError, match="No space"):
        backup.make_backup(site, Full(), print, with_volumes=True)


@pytest.mark.parametrize(
    "told",
    [None, 7, {}, {"first": [], "count": "x"}, {"first": [["a"]], "count": 1}, {"first": 1}],
)
def test_what_a_volume_lacks_is_told_in_one_form_alone(told):
    with pytest.raises(BackupError, match="not told as it should be"):
        Missing().note_all(told)


def test_however_much_is_missing_little_is_kept_of_it_and_no_name_writes_on_a_terminal():
    missing = Missing()
    for number in range(1_000):
        missing.note(f"\x1b[2Jline\n{number}" + "x" * 10_000, "Permission denied" * 100)
    again = Missing()
    again.note_all(json.loads(json.dumps(missing.make_json())))
    assert again == missing
    assert len(json.dumps(missing.make_json())) < 2**17
    assert missing.describe().isprintable()
    assert missing.describe().endswith("and 980 more")


def test_a_place_with_a_hub_in_it_is_left_alone(site):
    content = write(site)
    with pytest.raises(BackupError, match="belongs to a hub already"):
        bring_back(site, content)


def test_a_backup_of_another_hub_says_which_name_to_give(site, tmp_path):
    after = make_settings(tmp_path / "after", HUB_NAME="other")
    with pytest.raises(BackupError, match="--env HUB_NAME=mlhub"):
        bring_back(after, write(site))


def make_hostile(name, kind=tarfile.REGTYPE, linkname=""):
    output = io.BytesIO()
    writer = Writer(output)
    writer.add_json("backup.json", {"format": 1, "hub_name": "mlhub", "has_volumes": False})
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, linkname
    writer._tar.addfile(member)
    writer.add_json("end.json", {"volumes": 0})
    writer.close()
    return output.getvalue()


@pytest.mark.parametrize(
    "hostile",
    [
        make_hostile("data/ssh/../../../out"),
        make_hostile("/data/ssh/out"),
        make_hostile("data/ssh/out", tarfile.SYMTYPE, "/etc"),
        make_hostile("data/ssh/out", tarfile.LNKTYPE, "/etc/passwd"),
        make_hostile("data/ssh/out", tarfile.CHRTYPE),
        make_hostile("data/.bashrc"),
        make_hostile("data/ssh/../announcement.txt"),
        make_hostile("data/ssh/../../resources/policy.yaml"),
        make_hostile("resources/../out"),
        make_hostile("volumes/1.json"),
        make_hostile("elsewhere"),
        b"",
        b"no archive at all",
    ],
)
def test_an_archive_that_is_no_backup_leaves_nothing_behind(hostile, tmp_path):
    after = make_settings(tmp_path / "after")
    with pytest.raises(BackupError):
        bring_back(after, hostile)
    assert list(after.data_volume_container.iterdir()) == []
    assert sorted(path.name for path in (tmp_path / "after").iterdir()) == ["data", "resources"]


@pytest.mark.parametrize("name", ["ssh", "ssh/..two", "ssh/..."])
def test_its_harmless_twin_is_restored(name, tmp_path):
    after = make_settings(tmp_path / "after")
    bring_back(after, make_hostile(f"data/{name}"))
    assert (after.data_volume_container / name).exists()


def make_volume_with(name):
    """Make a backup with one volume, which has a file of this name."""
    output = io.BytesIO()
    writer = Writer(output)
    writer.add_json("backup.json", {"format": 1, "hub_name": "mlhub", "has_volumes": True})
    writer._tar.addfile(tarfile.TarInfo("data/setup-code"))
    writer.add_json("volumes/1.json", {"name": "ana", "labels": LABELS})
    for each in ("work", name):
        writer._tar.addfile(tarfile.TarInfo(f"volumes/1/{each}"))
    writer.add_json("end.json", {"volumes": 1})
    writer.close()
    return output.getvalue()


def test_no_file_of_a_volume_is_written_above_it(tmp_path, monkeypatch):
    volumes, after = Folders(), make_settings(tmp_path / "after")
    monkeypatch.setattr(restore, "open_volumes", lambda _: volumes)
    with pytest.raises(BackupError, match="leads elsewhere"):
        bring_back(after, make_volume_with("../../out"))
    assert volumes.volumes == {}
    bring_back(after, make_volume_with("..out"))  # the twin
    names = [member[0] for member in read_volume(volumes.volumes["ana"][1])]
    assert names == ["volume/work", "volume/..out"]


@pytest.mark.parametrize("there", ["setup-code", "ssh/other", "restored-resources/policy.yaml"])
def test_what_lies_in_the_way_is_named_and_stays_and_nothing_else_is_moved(
    there, site, tmp_path, monkeypatch
):
    (site.data_volume_container / "setup-code").write_text("of the backup")
    volumes = Folders(ana=make_volume())
    content = write(site, volumes, monkeypatch)
    volumes.volumes.clear()
    after = make_settings(tmp_path / "after")
    file = after.data_volume_container / there
    file.parent.mkdir(exist_ok=True)
    file.write_text("of the site")
    with pytest.raises(BackupError, match=f"something already .{there.partition('/')[0]}"):
        bring_back(after, content)
    assert file.read_text() == "of the site"
    assert [path.name for path in after.data_volume_container.iterdir()] == [there.split("/")[0]]
    assert volumes.volumes == {}
    file.unlink()  # an empty directory is in nobody's way
    bring_back(after, content)
    assert (after.data_volume_container / "jupyterhub.sqlite").exists()
    assert list(volumes.volumes) == ["ana"]
