"""What a name, a password and an e-mail address must be. Pure but for reading one word list; no
JupyterHub.

Each ``explain_*`` returns the sentence to show, or ``""`` when nothing is wrong.
"""

from __future__ import annotations

import functools
import importlib.util
import re
import unicodedata
from pathlib import Path

from mlhub.signin.native.lookalikes import describe_mixture
from mlhub.texts import Text

MAX_USERNAME_CHARACTERS = 128  # the width of the column that keeps it
MAX_EMAIL_CHARACTERS = 128
MAX_PASSWORD_BYTES = (
    72  # bcrypt looks at no more: https://en.wikipedia.org/wiki/Bcrypt#Maximum_password_length
)
DEFAULT_MINIMUM_PASSWORD_CHARACTERS = 10

# Letters that cannot be seen or that turn the text around make two names look alike.
_INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
_EMAIL = re.compile(r"[A-Za-z0-9.+_-]{1,64}@[A-Za-z0-9._-]{1,100}\.[A-Za-z]{1,24}\Z")


def explain_username(username: str) -> str:
    """Say what is wrong with a name that somebody wants to register."""
    if not username:
        return Text("Enter a username.")
    if len(username) > MAX_USERNAME_CHARACTERS:
        return Text(
            "The username has %(number)s characters. Choose one of at most %(most)s.",
            number=len(username),
            most=MAX_USERNAME_CHARACTERS,
        )
    if any(unicodedata.category(character) in _INVISIBLE for character in username):
        return Text("The username contains characters that cannot be seen. Type it again by hand.")
    if any(character in ", /" or character.isspace() for character in username):
        return Text("The username contains a space, a comma or a slash. Leave them out.")
    if set(username) == {"."}:
        return Text("The username consists of dots only. Choose another one.")
    if unicodedata.normalize("NFKC", username) != username:
        return Text(
            "The username contains characters that look like others (for example"
            " full-width letters). Type it with plain letters."
        )
    if mixture := describe_mixture(username):
        return Text(
            "The username %(mixture)s, so it could pass for another one. Type it"
            " in the letters of one script.",
            mixture=mixture,
        )
    return ""


def explain_password(
    password: str,
    username: str = "",
    minimum: int = DEFAULT_MINIMUM_PASSWORD_CHARACTERS,
    *,
    is_common_allowed: bool = False,
) -> str:
    """Say why a password is too weak, or too long to be kept."""
    size = len(password.encode("utf-8", "replace"))
    if len(password) < minimum:
        return Text(
            "The password has %(number)s characters. Choose one of at least %(minimum)s.",
            number=len(password),
            minimum=minimum,
        )
    if size > MAX_PASSWORD_BYTES:
        return Text(
            "The password is %(size)s bytes long. Choose one of at most"
            " %(most)s bytes (letters outside ASCII count 2 to 4).",
            size=size,
            most=MAX_PASSWORD_BYTES,
        )
    if "\0" in password:
        return Text("The password contains a NUL character. Leave it out.")
    return "" if is_common_allowed else _explain_common(password.casefold(), username.casefold())


def _explain_common(plain: str, name: str) -> str:
    if len(set(plain)) < 4:
        return Text(
            "The password repeats less than four different characters. Choose one"
            " that is harder to guess."
        )
    if name and plain in {name, name * 2, name[::-1]}:
        return Text("The password is made of the username. Choose one that is harder to guess.")
    word = plain.rstrip("0123456789!.?")
    if plain in list_common_passwords() or (
        len(plain) - len(word) <= 4 and word in list_common_passwords()
    ):
        return Text(
            "The password is among the most common ones. Choose one that is harder to guess."
        )
    return ""


def explain_email(email: str) -> str:
    """Say what is wrong with an e-mail address; an empty one is fine."""
    if email and (len(email) > MAX_EMAIL_CHARACTERS or not _EMAIL.match(email)):
        return Text("The e-mail address is not of the form name@example.org. Correct it.")
    return ""


@functools.cache
def list_common_passwords() -> frozenset[str]:
    """Return the ten thousand most common passwords, in lower case."""
    # The list comes with nativeauthenticator; its package is located without importing it.
    package = importlib.util.find_spec("nativeauthenticator")
    if package is None or package.origin is None:
        return frozenset()
    words = (
        Path(package.origin)
        .with_name("common-credentials.txt")
        .read_text(encoding="utf-8", errors="replace")
    )
    return frozenset(word.casefold() for word in words.splitlines() if word)
