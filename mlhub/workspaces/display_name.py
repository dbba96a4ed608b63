"""What a person calls a workspace; its address keeps the name that it was made with."""

from __future__ import annotations

from typing import Any

from jupyterhub.slugs import is_valid_display_name

from mlhub.errors import OptionsError
from mlhub.texts import Text

MOST_CHARACTERS = 60


def change_display_name(handler: Any, row: Any, typed: Any) -> None:
    """Call a workspace something else; "" is the name of its address again.

    ``row`` is its spawner in the database. Raises ``OptionsError``.
    """
    if not row.name:
        raise OptionsError(
            Text(
                "The default workspace is called so on every page. Only others have a"
                " name of their own."
            )
        )
    name = " ".join(typed.split()) if isinstance(typed, str) else None
    if name is None or len(name) > MOST_CHARACTERS:
        raise OptionsError(
            Text(
                "A workspace's name is a text of at most %(most_characters)s characters.",
                most_characters=MOST_CHARACTERS,
            )
        )
    if name and not is_valid_display_name(name):
        raise OptionsError(
            Text("%(name)s has characters that cannot be seen. Leave them out.", name=repr(name))
        )
    row.display_name = name or row.name
    handler.db.commit()
