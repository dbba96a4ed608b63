"""For how long a workspace believes what the hub once said about somebody. Pure: no I/O.

JupyterHub's single-user server asks the hub who a cookie or token belongs to, and whether they may
come in, and keeps the answer for five minutes: for as long would whoever has lost a share, a group
or a token go on.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

BELIEF_SECONDS = 2
UNKNOWN_BELIEF_SECONDS = 300.0  # JupyterHub's own default
_OPTION = "--HubOAuth.cache_max_age"
# Commands that are known to hand their options on to that server; others might not understand this
# one.
_SERVERS = frozenset(
    {
        "jupyterhub-singleuser",
        "jupyter-labhub",
        "jupyterhub.singleuser",
        "start-singleuser",
        "start-notebook",
    }
)
_LAUNCHERS = frozenset({"tini", "-g", "-s", "--", "-m", "python", "python3"})


def shorten_belief(command: Sequence[str]) -> list[str]:
    """Return the command of a workspace with the option that makes the server ask again, where it
    is known to have one.
    """
    words = [PurePosixPath(word).name.removesuffix(".sh").removesuffix(".py") for word in command]
    known = next((place for place, word in enumerate(words) if word in _SERVERS), None)
    is_told = any(word.partition("=")[0].endswith(".cache_max_age") for word in command)
    if known is None or is_told or not _LAUNCHERS.issuperset(words[:known]):
        return list(command)
    return [*command, f"{_OPTION}={BELIEF_SECONDS}"]


def read_belief(command: Sequence[str]) -> float:
    """Return for how many seconds a workspace that was started with this command believes the hub;
    what is not told is taken for long.
    """
    told = [word.removeprefix(f"{_OPTION}=") for word in command if word.startswith(f"{_OPTION}=")]
    return float(told[-1]) if told and told[-1].isdecimal() else UNKNOWN_BELIEF_SECONDS
