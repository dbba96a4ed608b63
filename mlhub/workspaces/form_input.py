"""What a person typed into the form, in the names of the options. Pure: no I/O.

Invariants: the form works without JavaScript: what a plain form cannot say in the names of the REST
API is put into them here. A secret is never given back to a form.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlhub import quantities as values
from mlhub.options.model import OPTIONS

# The value of the radio button "another image": no image can have that name.
OTHER_IMAGE = ":other"


def read_fields(sent: Mapping[str, Sequence[Any]]) -> dict[str, Sequence[Any]]:
    """Put what the form sends into the names of the options.

    The radio button "another image" means ``is_custom_image``; the hidden ``none`` before the GPUs'
    checkboxes counts only where no box is ticked.
    """
    fields = dict(sent)
    if OTHER_IMAGE in fields.get("image", ()):
        fields["image"], fields["is_custom_image"] = [], ["true"]
    if len(fields.get("gpus", ())) > 1:
        fields["gpus"] = [text for text in fields["gpus"] if text != "none"]
    return fields


def read_typed(sent: Mapping[str, Sequence[str]] | None, stored: Any) -> dict[str, str]:
    """Return what the form shows as typed: what was just sent, else the options that are stored.

    Secrets are never shown.
    """
    if sent is None:
        given = stored if isinstance(stored, Mapping) else {}
        written = {name: _write(name, value) for name, value in given.items()}
        return {name: text for name, text in written.items() if text and not _is_secret(name)}
    typed = {}
    for name, texts in read_fields(sent).items():
        if _is_secret(name):
            continue
        words = [text for text in texts if not values.is_blank(text)]
        if words:
            joint = OPTIONS[name].joint if name in OPTIONS else ""
            typed[name] = joint.join(words) if joint else words[-1]
    return typed


def _is_secret(name: str) -> bool:
    return name in OPTIONS and OPTIONS[name].is_secret


def _write(name: str, value: Any) -> str:
    """Write a stored value as it would be typed."""
    if name == "env" and isinstance(value, Mapping):
        # A value of several lines cannot be typed into lines; such a variable is set through the
        # REST API.
        return "\n".join(f"{key}={text}" for key, text in value.items() if "\n" not in str(text))
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return str(value) if isinstance(value, str | int | float) else ""
