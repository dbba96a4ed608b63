"""Find variables of the environment that look like ours and are none."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from mlhub.settings import KNOWN_VARIABLES

# Names that begin like ours but belong to a shell, an ssh client or Kubernetes' service links.
_FOREIGN = re.compile(
    r"(SSH_(AUTH_SOCK|AGENT_\w+|CLIENT|CONNECTION|TTY|ASKPASS\w*)"
    r"|\w+_SERVICE_\w+|\w+_PORT(_\d+\w*)?|SSL_CERT_\w+)\Z"
)
# Read by scripts/ on the host and handed on; nothing inside the container looks at them.
_HOST_ONLY = {"MLHUB_USER_CONFIG", "MLHUB_SSL_DIR", "MLHUB_USERS_DIR", "MLHUB_CACHE"}


def list_misspelled_variables(names: Iterable[str]) -> list[str]:
    """Return a warning for each variable that looks like ours and is none."""
    warnings = []
    for name in sorted(names):
        if name in KNOWN_VARIABLES or name in _HOST_ONLY or _FOREIGN.match(name):
            continue
        near = difflib.get_close_matches(name, KNOWN_VARIABLES, n=1, cutoff=0.8)
        if near and not name.startswith("DOCKER_"):
            warnings.append(
                f"{name} is not a variable of this image and has no effect. Did you mean {near[0]}?"
            )
        elif name.startswith("MLHUB_"):
            warnings.append(
                f"{name} is not a variable of this image and has no effect. The reference page"
                " lists all of them."
            )
    return warnings
