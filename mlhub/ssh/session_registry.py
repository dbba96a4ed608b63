"""Who is in by SSH at this moment, as the program beside sshd tells: for the audit, for activity,
and to end what may not go on.

Invariants: a session ends within a second after its key lets nobody in any more; a workspace with
an open session counts as active.
"""

from __future__ import annotations

import asyncio
import json
import logging
from datetime import UTC, datetime
from typing import Any

from mlhub.audit import Allowance, AuditLog, Clock
from mlhub.ssh.access import has_ssh
from mlhub.ssh.grants import Grants
from mlhub.ssh.session import Session

ACTIVITY_SECONDS = 60.0
LOOK_SECONDS = 0.5
REFUSALS_PER_MINUTE = 60
# A bastion that hung up comes back within a second, unless it is gone with its sessions.
GONE_SECONDS = 60.0
MAX_WAITING = 1000
log = logging.getLogger(__name__)


class Journal:
    """Keep the open sessions of all bastions of this hub."""

    def __init__(
        self,
        grants: Grants,
        audit: AuditLog,
        clock: Clock,
        activity_seconds: float = ACTIVITY_SECONDS,
    ) -> None:
        self.grants, self.audit, self.clock = grants, audit, clock
        self.activity_seconds = activity_seconds
        self.sessions: dict[tuple[str, int], Session] = {}
        self._writers: dict[str, asyncio.StreamWriter] = {}
        self._gone: dict[str, float] = {}
        self._refusals = Allowance(REFUSALS_PER_MINUTE, clock)
        self._is_access_revoked = False
        # The forced command may tell where somebody went before sshd's log has told who it is.
        self._waiting: dict[tuple[str, str, int], tuple[str, str]] = {}

    # what the program beside sshd tells

    async def follow(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, bastion: str = ""
    ) -> None:
        """Follow the program until it hangs up."""
        self._writers[bastion] = writer
        self._gone.pop(bastion, None)
        try:
            while line := await reader.readline():
                try:
                    await self._take(bastion, json.loads(line))
                except Exception:  # one event that cannot be handled must not cost the others
                    log.exception("The event %r of sshd's sessions cannot be handled", line[:500])
        finally:
            if self._writers.get(bastion) is writer:
                del self._writers[bastion]
                self._gone[bastion] = self.clock()

    async def _take(self, bastion: str, event: dict[str, Any]) -> None:
        kind = event["event"]
        key = (bastion, event.get("pid", 0))
        if kind == "hello":
            # After a pause: sessions that ended meanwhile are closed, and who was to be ended could
            # not be told so.
            self._close_missing(bastion, set(event["pids"]))
            self.note_access_revoked()
        elif kind in ("opened", "known"):
            former = self.sessions.get(key)
            if former is None or former.at != event["at"]:
                if former:  # of the same number, before the bastion was started again
                    self._close(self.sessions.pop(key))
                await self._open(bastion, event, is_new=kind == "opened")
            if key in self.sessions:
                self._tell(self.sessions[key], {"known": key[1]})
        elif kind == "kept" and key in self.sessions:
            self._keep(self.sessions[key], tuple(event["workspace"]))
        elif kind == "target" and key in self.sessions:
            session = self.sessions[key]
            name = f"{event['host']}:{event['to']}"
            if name not in session.names and (
                authorized := await self.grants.find_authorized_key(session.fingerprint)
            ):
                session.learn(authorized)  # a hub that was just started did not know all that runs
            if name in session.names:
                self._enter(session, session.names[name])
            else:
                self.audit.write(
                    "refused",
                    session=session.name,
                    user=session.user,
                    address=session.address,
                    target=name[:300],
                )
        elif kind == "closed" and (ended := self.sessions.pop(key, None)):
            self._close(ended)
        elif kind == "refused":
            self._refuse(event)

    def _close_missing(self, bastion: str, pids: set[int]) -> None:
        for key in [key for key in self.sessions if key[0] == bastion and key[1] not in pids]:
            self._close(self.sessions.pop(key))

    async def _open(self, bastion: str, event: dict[str, Any], *, is_new: bool = True) -> None:
        session = Session(
            bastion,
            *(event[name] for name in ("pid", "source", "port", "fingerprint", "at", "address")),
        )
        authorized = await self.grants.find_authorized_key(session.fingerprint)
        if authorized is None and not self.grants.is_learning:
            # Removed between the look-up and the signature, or while the hub was away.
            self.end(session)
            return
        self.sessions[bastion, session.pid] = session
        if authorized is not None:
            session.learn(authorized)
        if is_new and authorized is not None:
            self.grants.keys.touch(
                session.fingerprint,
                datetime.fromtimestamp(self.clock(), UTC).replace(tzinfo=None),
                session.address,
            )
            self._write(
                "opened",
                session,
                key=session.fingerprint,
                key_name=authorized.key_name,
                may_enter=[target.name for target in authorized.targets],
            )
        if workspace := self._waiting.pop((bastion, session.source, session.port), None):
            self._enter(session, workspace)

    def note_target(self, client: tuple[str, str, int], workspace: tuple[str, str]) -> None:
        """Note that the session of this client (bastion, source, port) was led into a workspace."""
        for session in self.sessions.values():
            if (session.bastion, session.source, session.port) == client:
                return self._enter(session, workspace)
        if len(self._waiting) >= MAX_WAITING:
            self._waiting.clear()
        self._waiting[client] = workspace
        return None

    def _enter(self, session: Session, workspace: tuple[str, str]) -> None:
        self._add(session, workspace)
        # It lives on when this hub does not, and then the program beside sshd is the one that
        # knows.
        self._tell(session, {"keep": session.pid, "workspace": workspace})
        self._write("entered", session, workspace="/".join(workspace))
        self._mark_active([workspace])

    def _keep(self, session: Session, workspace: tuple[str, str]) -> None:
        if workspace not in session.workspaces:
            self._add(session, workspace)
            self.note_access_revoked()

    def _add(self, session: Session, workspace: tuple[str, str]) -> None:
        session.workspaces.append(workspace)
        spawner = self.grants.find_spawner(*workspace)
        if spawner is not None and spawner not in session.spawners:
            session.spawners.append(spawner)

    def _close(self, session: Session) -> None:
        names = sorted({"/".join(workspace) for workspace in session.workspaces})
        self._write(
            "closed", session, workspaces=names, seconds=round(self.clock() - session.at, 1)
        )

    def _refuse(self, event: dict[str, Any]) -> None:
        if self._refusals.take():
            self.audit.write(
                "refused",
                address=event["address"],
                key=event["fingerprint"],
                more=self._refusals.take_suppressed(),
            )

    def _write(self, event: str, session: Session, **fields: Any) -> None:
        self.audit.write(
            event, session=session.name, user=session.user, address=session.address, **fields
        )

    # what the hub wants

    def end(self, session: Session) -> None:
        """Have the bastion end a session, which is over once it says so."""
        self._tell(session, {"end": session.pid})

    def _tell(self, session: Session, wish: dict[str, Any]) -> None:
        writer = self._writers.get(session.bastion)
        if writer is not None and not writer.is_closing():
            writer.write(json.dumps(wish).encode() + b"\n")

    def end_keys(self, user: str, fingerprints: list[str]) -> None:
        """End the sessions of keys that let nobody in any more."""
        for session in list(self.sessions.values()):
            if session.fingerprint in fingerprints:
                log.info("The SSH session of %s is ended: its key is no longer registered.", user)
                self.end(session)

    def note_access_revoked(self) -> None:
        """Note that less is open to somebody than before: who may not stay is looked for at the
        next look.
        """
        self._is_access_revoked = True

    async def end_unauthorized(self) -> None:
        """End the sessions of people who would not be let in now, and those in workspaces that they
        may not enter any more.
        """
        for session in list(self.sessions.values()):
            authorized = await self.grants.find_authorized_key(session.fingerprint)
            if authorized is not None:
                session.learn(authorized)
            is_authorized = authorized is not None or self.grants.is_learning
            if not is_authorized or not await self._may_stay(session):
                self.end(session)

    def _end_closed(self) -> None:
        # Without the database, so that it can be looked at all the time.
        closed = {
            spawner
            for session in self.sessions.values()
            for spawner in session.spawners
            if not has_ssh(spawner)
        }
        for session in list(self.sessions.values()):
            if not closed.isdisjoint(session.spawners):
                log.info(
                    "An SSH session of %s is ended: SSH was switched off for its workspace.",
                    session.user,
                )
                self.end(session)
            elif session.spawners and not any(spawner.active for spawner in session.spawners):
                # The forced command's relay does not tell the client that the other side went away.
                self.end(session)

    def _close_gone(self) -> None:
        for bastion, since in list(self._gone.items()):
            if self.clock() - since > GONE_SECONDS:
                del self._gone[bastion]
                self._close_missing(bastion, set())

    async def _may_stay(self, session: Session) -> bool:
        key = await self.grants.find_key(session.fingerprint)
        if key is None:
            return True  # a key that nobody registered, and that is still there
        for owner, server in set(session.workspaces):
            spawner = self.grants.find_spawner(owner, server)
            if spawner is not None and not await self.grants.may_enter(key, spawner):
                return False
        return True

    async def keep_active(self) -> None:
        """Count open sessions as activity of their workspaces, and look whether they may go on, as
        long as the hub runs.
        """
        due, was_learning = self.activity_seconds, self.grants.is_learning
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            due -= LOOK_SECONDS
            if was_learning and not self.grants.is_learning:
                was_learning = False
                self.note_access_revoked()
            try:
                self._end_closed()
                self._close_gone()
                if self._is_access_revoked or due <= 0:
                    self._is_access_revoked = False
                    await self.end_unauthorized()
                if due <= 0:
                    due = self.activity_seconds
                    self._mark_active(
                        [
                            workspace
                            for session in self.sessions.values()
                            for workspace in session.workspaces
                        ]
                    )
            except Exception:  # the database may be away for a while
                log.exception("Open SSH sessions could not be looked at")

    def _mark_active(self, workspaces: list[tuple[str, str]]) -> None:
        now = datetime.fromtimestamp(self.clock(), UTC).replace(tzinfo=None)
        db = None
        for owner, server in set(workspaces):
            spawner = self.grants.find_spawner(owner, server)
            if spawner is not None and spawner.active and spawner.orm_spawner is not None:
                spawner.orm_spawner.last_activity = spawner.user.orm_user.last_activity = now
                db = spawner.user.db
        if db is not None:
            db.commit()
