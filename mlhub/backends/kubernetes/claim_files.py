"""Hand out the files of one volume as a tar archive, or take such an archive in: what runs in a pod
that a backup makes beside a claim.

It goes there as text, and imports nothing but the standard library. It answers whoever has its
token, one at a time, and ends by itself where nobody asks.
"""

import hmac
import io
import json
import os
import stat
import sys
import tarfile
from contextlib import nullcontext, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

PLACE, PORT = "/volume", 8080
IDLE_SECONDS = 600
PIECE_BYTES = 2**16
# The last member of an archive, where files could not be read: how many, and the first of them.
MISSING, NAMED = "missing.json", 20


class Chunks(io.RawIOBase):
    """What is written goes out in chunks, of which a reader knows the last one."""

    def __init__(self, output: Any) -> None:
        self.output = output

    def write(self, data: Any) -> int:
        """Write one chunk."""
        if data:
            self.output.write(b"%x\r\n%b\r\n" % (len(data), bytes(data)))
        return len(data)

    def end(self) -> None:
        """Write the last one."""
        self.output.write(b"0\r\n\r\n")


class Unchunked(io.RawIOBase):
    """Read what comes in chunks."""

    def __init__(self, source: Any) -> None:
        self.source, self.left, self.is_over = source, 0, False

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a part of the buffer."""
        if self.left == 0 and not self.is_over:
            self.left = int(self.source.readline(), 16)
            self.is_over = self.left == 0
        if self.is_over:
            return 0
        data = self.source.read(min(len(buffer), self.left))
        if not data:
            raise EOFError("The archive was cut off.")
        buffer[: len(data)] = data
        self.left -= len(data)
        if self.left == 0:
            self.source.readline()
        return len(data)


def open_at_once(path: str, flags: int) -> int:
    """Open a file without waiting for anybody, and no other one: a pipe or a link may be in its
    place by now.
    """
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOFOLLOW)


def forget_members(tar: Any) -> None:
    """Forget what went by: tarfile keeps a kilobyte of each file, and people have millions."""
    tar.members.clear()


class Exactly:
    """Read just as many bytes of a file as its header says, whatever becomes of it meanwhile; what
    cannot be read is zeros, and ``error`` tells why.
    """

    def __init__(self, file: Any, size: int) -> None:
        self.file, self.left = file, size
        self.error: OSError | None = None

    def read(self, size: int = PIECE_BYTES, /) -> bytes:
        """Return the next bytes."""
        wanted = min(size, self.left)
        data = b""
        try:
            data = b"" if self.error else self.file.read(wanted)
        except OSError as error:
            self.error = error
        data = data or bytes(wanted)
        self.left -= len(data)
        return data


class Files(BaseHTTPRequestHandler):
    """Answer a backup."""

    protocol_version, timeout = "HTTP/1.1", IDLE_SECONDS

    def do_GET(self) -> None:
        """Hand out the files."""
        if not self.is_known():
            return
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        chunks = Chunks(self.wfile)
        self.count, self.missing = 0, list[list[str]]()
        with tarfile.open(
            fileobj=chunks, mode="w|", format=tarfile.PAX_FORMAT, bufsize=PIECE_BYTES
        ) as tar:
            self.add(tar, PLACE, "volume")
            if self.missing:
                said = json.dumps({"count": self.count, "first": self.missing}).encode()
                member = tarfile.TarInfo(MISSING)
                member.size = len(said)
                tar.addfile(member, io.BytesIO(said))
        chunks.end()

    def do_PUT(self) -> None:
        """Take files in."""
        if not self.is_known():
            return
        body = io.BufferedReader(Unchunked(self.rfile), PIECE_BYTES)
        folders, top = [], os.path.dirname(PLACE)
        with tarfile.open(fileobj=body, mode="r|") as tar:
            for member in tar:
                forget_members(tar)
                if member.name.split("/")[0] != "volume" or ".." in member.name.split("/"):
                    raise ValueError(f"{member.name!r} is no file of the volume.")
                mode = member.mode
                if member.isdir():  # what it holds comes after it
                    folders.append((member.name, mode, member.mtime))
                    member.mode |= 0o700
                tar.extract(member, top, filter="fully_trusted")
        for name, mode, mtime in reversed(folders):
            with suppress(PermissionError):  # the volume's own, which may be root's
                os.chmod(os.path.join(top, name), mode)
                os.utime(os.path.join(top, name), (mtime, mtime))
        self.send_response(204)
        self.end_headers()

    def add(self, tar: tarfile.TarFile, path: str, name: str) -> None:
        """Add a file, or a folder with what it holds, however deep."""
        left = [(path, name)]
        while left:
            path, name = left.pop()
            below = sorted(self.add_one(tar, path, name), reverse=True)
            left += [(f"{path}/{each}", f"{name}/{each}") for each in below]

    def add_one(self, tar: tarfile.TarFile, path: str, name: str) -> list[str]:
        """Add one file, link or folder; return the names in a folder. What is gone by now, or is
        something else, is left out; what cannot be read is noted.
        """
        file, member, names = None, None, []
        try:
            # Opened first: what other names of the same file lead to has to be in the archive.
            if stat.S_ISREG(os.lstat(path).st_mode):
                file = open(path, "rb", opener=open_at_once)  # noqa: SIM115
            member = tar.gettarinfo(path, name, file)
            names = os.listdir(path) if member and member.isdir() else []
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            if name == "volume/lost+found":  # of the file system's own
                return []
            self.note(name, error)
        with file or nullcontext():
            if member is not None:  # else a socket, or noted
                self.add_member(tar, member, file)
        return names

    def add_member(self, tar: tarfile.TarFile, member: tarfile.TarInfo, file: Any) -> None:
        """Add what was found, a file as long as is said of it."""
        if member.islnk() or (file is None and not member.isreg()):
            tar.addfile(member)
        elif file is not None and member.isreg():
            content = Exactly(file, member.size)
            tar.addfile(member, content)
            if content.error:
                self.note(member.name, content.error)
        forget_members(tar)

    def note(self, name: str, error: OSError) -> None:
        """Note a file that cannot be read, or not to its end."""
        self.count += 1
        if len(self.missing) < NAMED:
            self.missing.append([name.partition("/")[2] or ".", error.strerror or str(error)])

    def is_known(self) -> bool:
        """Return True if whoever asks has the token; else they are told."""
        given = self.headers.get("Authorization", "").encode()
        if hmac.compare_digest(given, b"Bearer " + os.environ["TOKEN"].encode()):
            return True
        self.send_error(403)
        return False

    def handle_one_request(self) -> None:
        """Answer one request; what goes wrong is said in the log, and ends the connection."""
        try:
            super().handle_one_request()
        except Exception as error:  # noqa: BLE001 - whatever it is
            print(f"{error}", file=sys.stderr, flush=True)
            self.close_connection = True


class Server(HTTPServer):
    """Serve until nobody has asked for a while."""

    timeout = IDLE_SECONDS

    def __init__(self) -> None:
        self.is_over = False
        super().__init__(("0.0.0.0", PORT), Files)  # noqa: S104 - the pod's own

    def handle_timeout(self) -> None:
        """End."""
        self.is_over = True


if __name__ == "__main__":
    server = Server()
    while not server.is_over:
        server.handle_request()
