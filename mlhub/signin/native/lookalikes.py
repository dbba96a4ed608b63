"""Names that pass for others, because letters of several scripts look alike. Pure.

Mixed scripts are what forged names are made of, and hardly any real one; Chinese, Japanese and
Korean are written beside Latin letters (Unicode UTS 39, section 5.2: "highly restrictive").
"""

from __future__ import annotations

import unicodedata

from mlhub.texts import Text

_LATIN = frozenset({"LATIN"})
_EAST_ASIAN = frozenset({"CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO"})
# Lower-case letters that most typefaces draw as a Latin one: Cyrillic, Greek, Armenian.
_LIKE_LATIN = frozenset(
    "\u0430\u0441\u0501\u0435\u04bb\u0456\u0458\u04cf\u043e"
    "\u051b\u0440\u0455\u0443\u0475\u051d\u0445\u04af"
    "\u03b1\u03b9\u03ba\u03bd\u03bf\u03c1\u03c5\u03c7"
    "\u0585\u0570\u0578\u057d\u0581"
)


def describe_letters(name: str) -> str:
    """Say by which letters a name could pass for another one, beginning with a verb; "" where it
    could not.
    """
    if sentence := describe_mixture(name):
        return sentence
    letters = {letter for letter in name.lower() if unicodedata.category(letter).startswith("L")}
    if letters and letters <= _LIKE_LATIN:
        (script,) = _list_scripts(name)
        return Text(
            "is written in %(script)s letters that look like Latin ones", script=script.capitalize()
        )
    return ""


def describe_mixture(name: str) -> str:
    """Say which scripts a name mixes, where it does."""
    scripts = _list_scripts(name)
    if len(scripts - _EAST_ASIAN) > 1 or (scripts & _EAST_ASIAN and scripts - _EAST_ASIAN - _LATIN):
        *others, last = sorted(script.capitalize() for script in scripts)
        return Text("mixes %(others)s and %(last)s letters", others=", ".join(others), last=last)
    return ""


def _list_scripts(name: str) -> frozenset[str]:
    # The standard library knows a letter's script by its name alone.
    names = (
        unicodedata.name(letter, "").split(" ")[0].partition("-")[0]
        for letter in name
        if unicodedata.category(letter) in {"Lu", "Ll", "Lt", "Lo"}
    )
    return frozenset(names)
