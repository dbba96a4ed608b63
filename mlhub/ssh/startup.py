"""Open the hub's side of the bastion, once the hub answers."""

from __future__ import annotations

import functools
import time
from typing import Any
from urllib.parse import urlsplit

from mlhub.audit import AuditLog
from mlhub.settings import Settings
from mlhub.ssh.access import find_ssh, has_ssh
from mlhub.ssh.access_changes import watch_memberships
from mlhub.ssh.alias import list_suffixes, make_alias
from mlhub.ssh.grants import Filter, Grants
from mlhub.ssh.host import certify
from mlhub.ssh.hub_link import make_socket_path
from mlhub.ssh.keys import SshKeys
from mlhub.ssh.lookup_server import LookupServer
from mlhub.ssh.other_keys import KeyFile, WorkspaceKeys, find_key_file, parse_labels
from mlhub.ssh.session_registry import ACTIVITY_SECONDS, Journal

AUDIT_FILE = "audit/ssh.jsonl"


async def open_bastion(app: Any, settings: Settings) -> LookupServer | None:
    """Answer sshd's questions from the memory and the tables of this hub (``app`` is JupyterHub);
    None where there is no sshd.
    """
    path = make_socket_path(settings.mlhub_run_dir)
    if not settings.has_bastion or not (settings.mlhub_bastion_token or path.parent.is_dir()):
        return None
    keys = SshKeys(app.db)
    target_filter = Filter(settings.ssh_permit_target_host, settings.ssh_permit_target_port)
    grants = Grants(app.users, app.authenticator, keys, target_filter, str(path))
    if key_file := find_key_file(settings.manual_auth_file):
        grants.key_file = KeyFile(key_file)
    if labels := parse_labels(settings.ssh_target_labels):
        grants.workspace_keys = WorkspaceKeys(
            app.users, labels, settings.ssh_target_publickey_api_port, settings.ssh_target_key_path
        )
    audit = AuditLog(settings.data_volume_container / AUDIT_FILE, time.time)
    journal = Journal(grants, audit, time.time, ACTIVITY_SECONDS)
    keys.on_removed(journal.end_keys)
    keys.on_access_revoked(journal.note_access_revoked)
    watch_memberships(app.db, journal.note_access_revoked)
    # Not by the hub's own name: a Service leads to it only once it is ready, and not everywhere
    # back to where the question comes from.
    api_url = urlsplit(app.hub.api_url)._replace(netloc=f"127.0.0.1:{app.hub_port}").geturl()
    server = LookupServer(grants, journal, api_url, functools.partial(certify, settings))
    if settings.mlhub_bastion_token:
        await server.open_port(settings.mlhub_bastion_token.get_secret_value())
    else:
        await server.open(path)
    return server


def tell_names(app: Any, settings: Settings) -> None:
    """Let the hub's pages tell by which name a workspace is reached; "" where it is not."""
    suffix = list_suffixes(settings.hub_name, settings.host_names)[0]

    def find_ssh_name(spawner: Any) -> str:
        is_reached = find_ssh(spawner) is not None and has_ssh(spawner)
        return make_alias(spawner.user.name, spawner.name, suffix) if is_reached else ""

    # JupyterHub calls what it finds here with whoever looks.
    app.template_vars.setdefault("find_ssh_name", lambda _: find_ssh_name)
