"""Open the hub's side of the ssh door, once the hub answers."""

from __future__ import annotations

import functools
import time
from typing import Any
from urllib.parse import urlsplit

from mlhub.audit.records import AuditLog
from mlhub.auth.ssh_keys import SshKeys
from mlhub.bastion.grants import Filter, Grants
from mlhub.bastion.host import certify
from mlhub.bastion.journal import ACTIVITY_SECONDS, Journal
from mlhub.bastion.line import make_socket_path
from mlhub.bastion.lookup_server import LookupServer
from mlhub.bastion.memberships import watch_memberships
from mlhub.bastion.other_keys import KeyFile, WorkspaceKeys, find_key_file, parse_labels
from mlhub.settings import Settings

AUDIT_FILE = "audit/ssh.jsonl"


async def open_bastion(app: Any, settings: Settings) -> LookupServer | None:
    """Answer sshd's questions from the memory and the tables of this hub (``app`` is JupyterHub); None where there is no sshd."""
    path = make_socket_path(settings.mlhub_run_dir)
    if not settings.has_bastion or not (settings.mlhub_bastion_token or path.parent.is_dir()):
        return None
    keys = SshKeys(app.db)
    target_filter = Filter(settings.ssh_permit_target_host, settings.ssh_permit_target_port)
    grants = Grants(app.users, app.authenticator, keys, target_filter, str(path))
    if key_file := find_key_file(settings.manual_auth_file):
        grants.key_file = KeyFile(key_file)
    if labels := parse_labels(settings.ssh_target_labels):
        grants.workspace_keys = WorkspaceKeys(app.users, labels, settings.ssh_target_publickey_api_port, settings.ssh_target_key_path)
    audit = AuditLog(settings.data_volume_container / AUDIT_FILE, time.time)
    journal = Journal(grants, audit, time.time, ACTIVITY_SECONDS)
    keys.on_removed(journal.end_keys)
    keys.on_narrowed(journal.note_narrowed)
    watch_memberships(app.db, journal.note_narrowed)
    # Not by the hub's own name: a Service leads to it only once it is ready, and not everywhere back to where the question comes from.
    api_url = urlsplit(app.hub.api_url)._replace(netloc=f"127.0.0.1:{app.hub.port}").geturl()
    server = LookupServer(grants, journal, api_url, functools.partial(certify, settings))
    if settings.mlhub_bastion_token:
        await server.open_port(settings.mlhub_bastion_token.get_secret_value())
    else:
        await server.open(path)
    return server
