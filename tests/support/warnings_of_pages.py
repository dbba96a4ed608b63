"""What pages warn people of, as they read it."""

from __future__ import annotations

import html
import re

import requests


def read_warnings(answer: requests.Response, kind: str) -> dict[str, str]:
    """Return {server: sentence} of the warnings of a kind ("expiry", "stop") on a page."""
    found = re.findall(
        rf'class="[^"]*mlhub-{kind}" role="status" data-server-name="([^"]*)">(.*?)</div>',
        answer.text,
        re.DOTALL,
    )
    return {
        name: " ".join(html.unescape(re.sub("<[^>]*>", " ", text)).split()) for name, text in found
    }
