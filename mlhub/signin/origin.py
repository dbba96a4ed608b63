"""Where a request came from: which source it is counted for, whether it came by the workspaces'
port, and whether anybody still waits.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any

from tornado import web

from mlhub import errors
from mlhub.errors import CapacityError, TooManyAttemptsError
from mlhub.texts import explain

# One subscriber has a whole network of this size, so an address more is no other source.
IPV6_PREFIX = 64
# After so long most of those who waited have had their turn.
BUSY_SECONDS = 10
MARK = "mlhub_is_from_workspace"


def find_source(address: str | None) -> str:
    """Return what attempts from an address are counted for: itself, or its IPv6 network."""
    address = address or ""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        return str(ip_network((parsed, IPV6_PREFIX), strict=False))
    return str(parsed)


def mark_workspace_request(request: Any) -> None:
    """Remember that a request came by the port for workspaces."""
    setattr(request, MARK, True)


def is_workspace_request(request: Any) -> bool:
    """Return True if a request came by the port for workspaces, where nobody signs in."""
    return bool(getattr(request, MARK, False))


def is_gone(request: Any) -> bool:
    """Return True if whoever sent a request has hung up."""
    stream = getattr(request.connection, "stream", None)
    return stream is not None and bool(stream.closed())


class LaterError(web.HTTPError):
    """An answer with the seconds after which to try again; JupyterHub sends the ``headers`` of an
    error.
    """

    def __init__(self, status: int, sentence: str, wait: int) -> None:
        super().__init__(status, sentence)
        self.headers = {"Retry-After": str(wait)}


def friendly_errors() -> AbstractContextManager[None]:
    """Turn what stands in the way of an attempt into an answer with a sentence that says when to
    try again.
    """
    return errors.friendly_errors(_make_later, (CapacityError, TooManyAttemptsError))


def _make_later(error: CapacityError | TooManyAttemptsError) -> LaterError:
    wait = error.wait if isinstance(error, TooManyAttemptsError) else BUSY_SECONDS
    return LaterError(error.status_code, explain(error), wait)
