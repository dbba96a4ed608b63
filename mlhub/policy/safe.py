"""What holds for everybody as long as a site has written no policy file, so that no one person can
fill the host. Pure: no I/O.

The first line of a policy file ends it: what a site has written is then all that holds. A limit in
``c.Spawner.mem_limit`` stays the limit of each workspace.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from mlhub.options.option import Host, Setting, Source
from mlhub.policy.model import SitePolicy, find_host_limit
from mlhub.quantities import GIBIBYTE, MEBIBYTE

SERVERS = 20
SOURCE = Source("built-in, without a policy file")


def list_safe_settings(
    policy: SitePolicy, host: Host, settings: Mapping[str, Setting]
) -> dict[str, Setting]:
    """List the settings that hold beside those that are there, by dotted key.

    Of the memory of a host that all workspaces share, a person has three quarters of what the hub
    leaves at the most, and a workspace an eighth where nobody asks, or a gibibyte. Of its disk a
    person has three quarters of what workspaces have of it, where that is measured.
    """
    if policy.model_fields_set:
        return {}
    safe = {"total.servers": Setting(SERVERS, SOURCE)}
    if host.is_shared and host.disk_bytes is not None:
        safe["total.disk"] = Setting(_round(host.disk_bytes * 3 / 4), SOURCE)
    share = find_host_limit(policy, host, "mem_limit")
    if host.is_shared and share is not None:
        most = _round(share.value * 3 / 4)
        own = settings.get("mem_limit.default")
        # Less than one workspace of the site's own size would let nobody start.
        safe["total.mem_limit"] = Setting(max(most, own.value if own else 0), SOURCE)
        if not any(key.startswith("mem_limit.") for key in settings):
            safe["mem_limit.max"] = Setting(most, SOURCE)
            usual = max(_round(share.value / 8), min(GIBIBYTE, most))
            safe["mem_limit.default"] = Setting(usual, SOURCE)
    return safe


def is_outside(limit: Setting, held: float) -> bool:
    """Return True if what a workspace holds does not count.

    It was started without any limit, before the host was known or by an older version, and is no
    reason to refuse its owner the next one.
    """
    return limit.source is SOURCE and math.isinf(held)


def _round(size: float) -> int:
    return int(size) // MEBIBYTE * MEBIBYTE
