"""What the hub's log is spared: a person's typing error is one line, not a traceback, and what
opens something is not written at all.
"""

from __future__ import annotations

import logging
import re

from jupyterhub.log import CoroutineLogFormatter
from jupyterhub.spawner import SpawnException

from mlhub.workspaces.sealing import SECRETS

# What the name of a secret has in it. JupyterHub and tornado write addresses, and with an error of
# the hub all headers of the request.
WORDS = (
    "token|auth|key|code|state|xsrf|csrf|cookie|session|passw|secret|ticket|signature|assertion"
    "|saml|"
) + "|".join(SECRETS)
# No name is longer than that: strangers write addresses, and a search without bounds would take
# their time of the hub.
NAME = r"[\w.-]{0,40}"
# A parameter of an address, be it that of another address (`?next=%2Fhub%3Ftoken%3D…`).
PARAMETER = re.compile(
    rf"((?:[?&;]|%(?:25)*(?:3F|26)){NAME}(?:{WORDS}){NAME}(?:=|%(?:25)*3D))"
    rf"(?:(?!%(?:25)*26)[^&\s\"'#<>])+",
    re.IGNORECASE,
)
HEADER = re.compile(rf'("{NAME}(?:{WORDS}){NAME}": )"(?:[^"\\]|\\.)*"', re.IGNORECASE)
# Links that open something by themselves.
LINK = re.compile(r"(/hub/confirm/|/authorizations/(?:token|cookie)/)[^\s?\"']+")


def mask(text: str) -> str:
    """Return a text of the log without secrets."""
    text = HEADER.sub(r'\1"[secret]"', text)
    text = PARAMETER.sub(r"\1[secret]", text)
    return LINK.sub(r"\1[secret]", text)


class MaskingFormatter(CoroutineLogFormatter):
    """Write lines as JupyterHub does, without secrets, whoever wrote them and wherever in them they
    are.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of a record, its traceback included."""
        return mask(super().format(record))


class RefusalFilter(logging.Filter):
    """Write the sentence of a refused start in place of the traceback that JupyterHub adds."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the record, and keep it."""
        error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
        if isinstance(error, SpawnException):
            record.msg, record.args = (
                f"{record.getMessage()}: {getattr(error, 'jupyterhub_message', error)}",
                (),
            )
            record.exc_info = None
        return True
