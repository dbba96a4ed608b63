"""The hub's side of the bastion: a unix socket that only the bastion's account may open, or, for
bastions in containers of their own, a port that wants their token in a first line
(mlhub.ssh.hub_link). One line asks, lines answer.

============================================  ====================================================
``keys FINGERPRINT``                          a line of authorized_keys, or nothing
``connect FINGERPRINT SOURCE PORT ALIAS       ``say TEXT`` any number of times, then
SUFFIX``                                      ``open HOST PORT`` or ``refuse TEXT``
``sessions``                                  JSON objects, both ways (mlhub.ssh.monitor)
``certify TYPE KEY``                          the certificate of a bastion's own host key
============================================  ====================================================
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from mlhub.audit import Allowance
from mlhub.errors import MLHubError, WorkspaceError
from mlhub.ssh.access import find_ssh
from mlhub.ssh.alias import parse_alias
from mlhub.ssh.autostart import start_workspace
from mlhub.ssh.grants import Grants, Target
from mlhub.ssh.hub_link import PORT, bind, keep_alive
from mlhub.ssh.session_registry import Journal

FIRST_LINE_SECONDS = 5.0
LINE_BYTES = 2**16  # of which strangers may fill as many as they may have connections
UNNAMED_PER_ADDRESS = 128
FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}\Z")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}\Z")
STRANGERS_PER_MINUTE = 3
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
log = logging.getLogger(__name__)


class LookupServer:
    """Answer sshd, its forced command, and the program beside it."""

    def __init__(
        self, grants: Grants, journal: Journal, api_url: str, certify: Callable[[str], str]
    ) -> None:
        self.grants, self.journal, self.api_url, self.certify = grants, journal, api_url, certify
        self._token = ""
        self._unnamed: Counter[str] = Counter()
        self._strangers = Allowance(STRANGERS_PER_MINUTE, journal.clock)
        self._server: asyncio.Server | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self, path: Path) -> None:
        """Listen for the bastion beside the hub; the directory's group is the bastion's, and the
        socket is for it.
        """
        self._server = await asyncio.start_unix_server(
            self._serve, sock=bind(path), backlog=1024, limit=LINE_BYTES
        )
        self._start()

    async def open_port(self, token: str) -> None:
        """Listen for bastions in containers of their own, which know the token."""
        self._token = token
        everywhere = "0.0.0.0"  # noqa: S104 - as the hub's own port
        self._server = await asyncio.start_server(
            self._greet, everywhere, PORT, backlog=1024, limit=LINE_BYTES
        )
        self._start()

    def _start(self) -> None:
        self._tasks.append(asyncio.create_task(self.journal.keep_active()))
        if self.grants.workspace_keys is not None:
            self._tasks.append(asyncio.create_task(self.grants.workspace_keys.keep_asking()))

    def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        address = (writer.get_extra_info("peername") or ["somebody"])[0]
        words = await self._read_greeting(reader, address)
        # As bytes: compare_digest takes only ASCII as text.
        if (
            words[:1] == ["bastion"]
            and len(words) == 3
            and hmac.compare_digest(words[1].encode(), self._token.encode())
            and NAME.match(words[2])
        ):
            keep_alive(writer.get_extra_info("socket"))
            return await self._serve(reader, writer, words[2])
        if words and self._strangers.take():
            log.warning(
                "%s does not know the token of this hub's bastions (MLHUB_BASTION_TOKEN must be the"
                " same for both)",
                address,
            )
        writer.close()
        return None

    async def _read_greeting(self, reader: asyncio.StreamReader, address: str) -> list[str]:
        """Return the words of the first line; none where it does not come, or where too many from
        one address keep us waiting.
        """
        self._unnamed[address] += 1
        try:
            return (
                await _read_words(reader) if self._unnamed[address] <= UNNAMED_PER_ADDRESS else []
            )
        except (OSError, TimeoutError, ValueError):  # ValueError: a line that is too long
            return []
        finally:
            self._unnamed[address] -= 1
            if not self._unnamed[address]:
                del self._unnamed[address]

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, bastion: str = ""
    ) -> None:
        try:
            words = await _read_words(reader)
            if words == ["sessions"]:
                await self.journal.follow(reader, writer, bastion)
            elif len(words) == 3 and words[0] == "certify" and bastion:
                writer.write(
                    f"{await asyncio.to_thread(self.certify, ' '.join(words[1:]))}\n".encode()
                )
            elif len(words) == 2 and words[0] == "keys":
                writer.write((await self._look_up(words[1])).encode())
            elif len(words) == 6 and words[0] == "connect":
                await self._connect(writer, bastion, *words[1:])
            elif words[:1] == ["connect"]:
                _send(writer, "refuse", "Write: connect <server>.<user>.<hub> <hub>.")
            await writer.drain()
        except (OSError, TimeoutError, ValueError) as error:  # ValueError: a line that is too long
            log.debug("A question of the bastion was not answered: %s", error)
        except Exception:
            log.exception("A question of the bastion cannot be answered")
        finally:
            with contextlib.suppress(OSError):
                writer.close()

    async def _look_up(self, fingerprint: str) -> str:
        return await self.grants.make_line(fingerprint) if FINGERPRINT.match(fingerprint) else ""

    async def _connect(self, writer: asyncio.StreamWriter, bastion: str, *words: str) -> None:
        fingerprint, source, port, alias, suffix = words
        try:
            target = await self._lead(writer, fingerprint, alias, suffix)
        except MLHubError as error:
            _send(writer, "refuse", str(error))
            return
        if port.isdecimal():
            self.journal.note_target((bastion, source, int(port)), (target.owner, target.server))
        _send(writer, "open", f"{target.address.host} {target.address.port}")

    async def _lead(
        self, writer: asyncio.StreamWriter, fingerprint: str, alias: str, suffix: str
    ) -> Target:
        """Find the workspace of an alias, start it where it does not run, and make sure that its
        sshd answers.
        """

        async def say(text: str) -> None:
            _send(writer, "say", text)
            await writer.drain()

        key = await self.grants.find_key(fingerprint)
        owner, server = parse_alias(alias, suffix)
        spawner = self.grants.find_spawner(owner, server) if key else None
        if key is None or spawner is None or not await self.grants.may_enter(key, spawner):
            # The same words whether it is there or not.
            raise WorkspaceError(
                f"There is no workspace {alias} that you may enter. Your workspaces are listed on"
                " the SSH page of the hub."
            )
        if not spawner.ready:
            if key.user.name != owner:
                raise WorkspaceError(
                    f"The workspace {alias} does not run, and only {owner} can start it."
                )
            await say(f"{alias} does not run yet; it is started.")
            await start_workspace(self.api_url, self.grants.users[key.user], server, say)
            # JupyterHub starts one that failed before with a spawner of its own.
            spawner = self.grants.find_spawner(owner, server) or spawner
        ssh = find_ssh(spawner)
        answered = await ssh.ensure() if ssh is not None else None
        target = self.grants.find_target(spawner)
        if target is None:
            raise WorkspaceError(f"The workspace {alias} cannot be entered by SSH.")
        # The name that a jump uses may lead elsewhere for a while: DNS remembers.
        return replace(target, address=answered) if answered else target


async def _read_words(reader: asyncio.StreamReader) -> list[str]:
    async with asyncio.timeout(FIRST_LINE_SECONDS):
        return (await reader.readline()).decode("ascii", "replace").split()


def _send(writer: asyncio.StreamWriter, verb: str, text: str) -> None:
    # It ends on somebody's terminal: no control characters.
    writer.write(f"{verb} {_CONTROL.sub(' ', text)}\n".encode())
