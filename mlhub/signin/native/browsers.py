"""Browsers in which somebody has signed in before: one signed cookie, which only the sign-in page
gets.

It lets nobody in. It only takes care that a flood of wrong passwords from elsewhere does not keep
that person out.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from typing import Any

COOKIE = "mlhub-known-browser"
# Browsers keep no cookie for longer: https://www.rfc-editor.org/rfc/rfc6265bis.html
DAYS = 400
# On a browser that many share the one who came first is forgotten first; a cookie has to stay
# small.
MAX_PEOPLE = 8


def find_browser(handler: Any, username: str) -> str:
    """Return the id of the browser if this person has signed in there, else an empty text."""
    identity, marks = _read(handler)
    return identity if _make_mark(username) in marks else ""


def remember_browser(handler: Any, username: str) -> None:
    """Let the browser keep that this person signed in there."""
    identity, marks = _read(handler)
    mark = _make_mark(username)
    words = [
        identity or secrets.token_urlsafe(12),
        *[mark, *(each for each in marks if each != mark)][:MAX_PEOPLE],
    ]
    options = {"httponly": True, "samesite": "Lax", "secure": handler.request.protocol == "https"}
    handler.set_signed_cookie(
        COOKIE, " ".join(words), expires_days=DAYS, path=f"{handler.hub.base_url}login", **options
    )


def _read(handler: Any) -> tuple[str, list[str]]:
    value = handler.get_signed_cookie(COOKIE, max_age_days=DAYS)
    identity, *marks = value.decode().split(" ") if value else [""]
    return identity, marks


def _make_mark(username: str) -> str:
    # No name is to be read from the cookie of a browser that several people use.
    return (
        base64.urlsafe_b64encode(hashlib.sha256(username.encode()).digest()[:16])
        .decode()
        .rstrip("=")
    )
