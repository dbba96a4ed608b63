"""What all spawners of one hub share: the policy in force, what runs, what the host has, and the
time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from mlhub.options.option import Host, Option
from mlhub.policy.decide import Ledger
from mlhub.policy.file import PolicyFile
from mlhub.policy.model import SitePolicy, SpawnerDefaults
from mlhub.workspaces.disk_record import DiskRecord
from mlhub.workspaces.due_stops import DueStops


@dataclass
class Site:
    """Hold the policy file, the ledger, the host's facts, what was measured of its disk, and the
    stops that are due.
    """

    policy_file: PolicyFile
    ledger: Ledger = field(default_factory=Ledger)
    host: Host = field(default_factory=Host)
    disk: DiskRecord = field(default_factory=DiskRecord)
    stops: DueStops = field(default_factory=DueStops)
    clock: Callable[[], float] = time.time
    # What the variables say of workspaces that nobody uses, and how early their owners are warned.
    idle: SpawnerDefaults = field(default_factory=SpawnerDefaults)
    idle_warning_seconds: float = 0.0
    zone: str = "UTC"  # of schedules that name none
    # Whether the proxy is told which workspaces are to be behind the hub's check as a whole.
    proxy_is_told: ClassVar[bool] = False
    _sites: ClassVar[dict[str, Site]] = {}

    @classmethod
    def of(cls, path: str, list_options: Callable[[], tuple[Option, ...]]) -> Site:
        """Return the site whose policy lies at ``path``; one process serves one hub, so there is
        one. Everybody asks for it, over and over: what it is made of is asked for once.
        """
        if path not in cls._sites:
            cls._sites[path] = cls(PolicyFile(Path(path), options=list_options()))
        return cls._sites[path]

    @property
    def policy(self) -> SitePolicy:
        """The policy in force; the first read raises ``ConfigurationError`` where the file is
        broken.
        """
        return self.policy_file.current()
