"""What all spawners of one hub share: the policy in force, what runs, what the host has, and the time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from mlhub.workspace.decision import Ledger
from mlhub.workspace.policy import Host, SitePolicy
from mlhub.workspace.policy_file import PolicyFile


@dataclass
class Site:
    """Hold the policy file, the ledger and the host's facts of one hub."""

    policy_file: PolicyFile
    ledger: Ledger = field(default_factory=Ledger)
    host: Host = field(default_factory=Host)
    clock: Callable[[], float] = time.time
    _sites: ClassVar[dict[str, Site]] = {}

    @classmethod
    def of(cls, path: str) -> Site:
        """Return the site whose policy lies at ``path``; one process serves one hub, so there is one."""
        return cls._sites.setdefault(path, cls(PolicyFile(Path(path))))

    @property
    def policy(self) -> SitePolicy:
        """The policy in force; the first read raises ``ConfigurationError`` where the file is broken."""
        return self.policy_file.current()
