"""The bastion's host identity: the names under which clients check it, and its certificate for
them.
"""

from __future__ import annotations

from datetime import UTC, datetime

from mlhub.settings import Settings
from mlhub.ssh.authority import AUTHORITY_FILE, Authority

# The name by which clients check the bastion, under whatever address they reach it.
ALIAS = "mlhub-bastion"


def certify(settings: Settings, public_line: str) -> str:
    """Sign a bastion's host key with the hub's authority; ``settings`` are the hub's own."""
    authority = Authority((settings.data_volume_container / "ssh" / AUTHORITY_FILE).read_bytes())
    names = [ALIAS, settings.hub_name, *settings.host_names, "localhost", "127.0.0.1", "::1"]
    return authority.certify(public_line, names, datetime.now(UTC))
