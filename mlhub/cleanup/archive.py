"""The form of a backup: one tar archive that can be written and read as a stream.

``backup.json`` comes first and says what it is; then come the hub's files below ``data/`` and
``resources/``, then each volume as ``volumes/<n>.json`` (name and labels) with its files below
``volumes/<n>/``. Where some could not be read, ``volumes/<n>.missing.json`` comes behind them; a
volume that could not be read at all has no files, and ``missing`` in its description says why.
``end.json`` comes last, so what was cut off is told from what is whole.
"""

from __future__ import annotations

import io
import json
import lzma
import os
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from mlhub.backends.volume_archive import MISSING
from mlhub.cleanup.missing import REST, Missing
from mlhub.errors import BackendError, BackupError, friendly_errors

FORMAT = 1
MANIFEST, END = "backup.json", "end.json"
PIECE_BYTES = 2**16
DESCRIPTION_BYTES = 2**20
# What a volume's own stream raises where it breaks.
_BROKEN = (BackendError, BackupError, tarfile.TarError, EOFError)
# Of what a file's PAX header says, this is not said by its other fields.
_EXTENDED = "SCHILY.xattr."


class Writer:
    """Write a backup to a binary stream."""

    def __init__(self, output: BinaryIO) -> None:
        # Closed by ``close``, which writes the end.
        self._tar = tarfile.open(  # noqa: SIM115
            fileobj=output, mode="w|", format=tarfile.PAX_FORMAT
        )

    def add_json(self, name: str, content: Any) -> None:
        """Add a description."""
        data = json.dumps(content, indent=2).encode()
        member = tarfile.TarInfo(name)
        member.size, member.mode = len(data), 0o600
        self._tar.addfile(member, io.BytesIO(data))

    def add_file(self, path: Path, name: str) -> None:
        """Add a file or an empty directory, without what is inside; links are left out."""
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            return
        try:
            member = self._tar.gettarinfo(path, name)
            file = path.open("rb") if member.isreg() else None
        except OSError as error:
            raise BackupError(
                f"{path} of the hub cannot be read: {error.strerror}. Run this as the user that"
                " the hub runs as."
            ) from error
        with file or nullcontext():
            self._tar.addfile(member, file)

    def add_volume(self, number: int, content: Iterable[bytes], missing: Missing) -> int:
        """Add the files of a volume from its own tar stream; return their bytes.

        A stream that breaks ends the volume, and no more than that; ``missing`` is told.
        """
        total, source = 0, _Reading(content)
        try:
            with tarfile.open(fileobj=source, mode="r|") as volume:
                for member in volume:
                    _forget_members(volume)
                    file = volume.extractfile(member) if member.isreg() else None
                    if member.name == MISSING and file:
                        missing.note_all(_parse(file.read(DESCRIPTION_BYTES), MISSING))
                        continue
                    total += member.size
                    if error := self._add_moved(number, member, file):
                        missing.note(_cut_first(member.name), f"the end is lost: {error}")
                        return total
            source.check_end()
        except _BROKEN as error:
            missing.note(REST, str(error))
        return total

    def _add_moved(
        self, number: int, member: tarfile.TarInfo, file: IO[bytes] | None
    ) -> Exception | None:
        """Add a member of a volume; return what has broken the stream within it."""
        moved = _move(member, lambda name: _join(f"volumes/{number}", _cut_first(name)))
        whole = _Whole(file, member.size) if file else None
        self._tar.addfile(moved, cast(IO[bytes] | None, whole))
        _forget_members(self._tar)
        return whole.error if whole else None

    def close(self) -> None:
        """Write the end of the archive."""
        self._tar.close()


class Reader:
    """Read a backup member by member, in its order. Raises ``BackupError`` for anything else."""

    def __init__(self, source: BinaryIO) -> None:
        try:
            # Holds nothing of its own beside the source, which is the caller's.
            self._tar = tarfile.open(fileobj=source, mode="r|*")  # noqa: SIM115
        except tarfile.TarError as error:
            raise BackupError(f"This is no backup of a hub: {error}.") from error
        self.member: tarfile.TarInfo | None = None
        self.next()

    def next(self) -> None:
        """Go to the next member; ``member`` is None behind the last one."""
        with _reading():
            self.member = self._tar.next()
        _forget_members(self._tar)
        # Its place in the backup is judged by how its name begins.
        if self.member is not None and ".." in self.member.name.split("/"):
            raise BackupError(f"{self.member.name!r} in the backup leads elsewhere.")

    def read_json(self) -> Any:
        """Return the description that the current member is."""
        assert self.member is not None
        file = self._tar.extractfile(self.member) if self.member.isreg() else None
        if file is None or self.member.size > DESCRIPTION_BYTES:
            raise BackupError(f"{self.member.name!r} in the backup is no description.")
        return _parse(file.read(), self.member.name)

    def extract(self, folder: Path, name: str) -> None:
        """Write the current member into ``folder`` under ``name``: a file or a directory, nowhere
        else. Raises ``BackupError`` for links, devices and ways out.
        """
        assert self.member is not None
        member = self.member.replace(name=name, deep=False)
        if not (member.isreg() or member.isdir()):
            raise BackupError(f"{self.member.name!r} in the backup is neither file nor directory.")
        mode = member.mode & 0o755 | (0o700 if member.isdir() else 0o600)
        try:
            # The owner is left to the hub's next start, which gives it what is its own.
            safe = tarfile.data_filter(member, str(folder)).replace(mode=mode, deep=False)
            with _reading():
                self._tar.extract(safe, folder, filter="fully_trusted")
        except tarfile.FilterError as error:
            raise BackupError(f"{self.member.name!r} in the backup leads elsewhere.") from error

    def copy_volume(self, number: int, write: Callable[[Iterator[bytes]], None]) -> None:
        """Hand the files of a volume, which begin at the current member, to ``write`` as a tar
        stream of its own.
        """
        start = f"volumes/{number}"
        reading, writing = os.pipe()

        def consume() -> None:
            with open(reading, "rb", buffering=0) as pipe:
                write(iter(lambda: pipe.read(PIECE_BYTES), b""))

        with ThreadPoolExecutor(1, thread_name_prefix="volume") as pool:
            consumed = pool.submit(consume)
            with suppress(BrokenPipeError), open(writing, "wb") as pipe, _reading():
                self._copy(start, pipe)
        consumed.result()

    def _copy(self, start: str, output: BinaryIO) -> None:
        with tarfile.open(fileobj=output, mode="w|", format=tarfile.PAX_FORMAT) as volume:
            while self.member and (
                self.member.name == start or self.member.name.startswith(f"{start}/")
            ):
                moved = _move(
                    self.member, lambda name: _join("volume", name.removeprefix(start).lstrip("/"))
                )
                volume.addfile(
                    moved, self._tar.extractfile(self.member) if self.member.isreg() else None
                )
                _forget_members(volume)
                self.next()


def _forget_members(tar: Any) -> None:
    """Forget what went by: tarfile keeps a kilobyte of each file, and people have millions."""
    tar.members.clear()


def _parse(data: bytes, name: str) -> Any:
    try:
        return json.loads(data)
    except ValueError as error:
        raise BackupError(f"{name!r} in the backup is damaged.") from error


def _reading() -> AbstractContextManager[None]:
    return friendly_errors(
        lambda error: BackupError(f"The backup cannot be read to its end: {error}."),
        (tarfile.ReadError, EOFError, zlib.error, lzma.LZMAError),
    )


def _move(member: tarfile.TarInfo, rename: Callable[[str], str]) -> tarfile.TarInfo:
    """Return a member under another name. What a hard link leads to is moved with it."""
    moved = member.replace(
        name=rename(member.name),
        linkname=rename(member.linkname) if member.islnk() else member.linkname,
        deep=False,
    )
    if member.issparse():
        moved.type = tarfile.REGTYPE
    # Where they are given, these would win over the other fields.
    moved.pax_headers = {
        key: value for key, value in member.pax_headers.items() if key.startswith(_EXTENDED)
    }
    return moved


def _cut_first(name: str) -> str:
    return name.partition("/")[2]


def _join(start: str, rest: str) -> str:
    return f"{start}/{rest}" if rest else start


class _Reading(io.RawIOBase):
    """Read pieces of bytes as a file."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces, self._rest, self._last = iter(pieces), b"", b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a part of the buffer."""
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest, self._last = piece, (self._last + piece)[-tarfile.BLOCKSIZE :]
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        return size

    def check_end(self) -> None:
        """Raise ``EOFError`` if the end of the archive does not come: tarfile takes what was cut
        off between two files for whole.
        """
        while self.read(PIECE_BYTES):
            pass
        if self._last != bytes(tarfile.BLOCKSIZE):
            raise EOFError("its end did not come")


class _Whole:
    """Read as many bytes of a file as were announced, also where its stream breaks: what a tar
    archive has announced has to come. The rest is zeros, and ``error`` tells why.
    """

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file, self._left = file, size
        self.error: Exception | None = None

    def read(self, size: int) -> bytes:
        """Return the next bytes."""
        data, wanted = b"", min(size, self._left)
        if self.error is None:
            try:
                data = self._file.read(wanted)
            except _BROKEN as error:
                self.error = error
        self._left -= wanted
        return data.ljust(wanted, b"\0")
