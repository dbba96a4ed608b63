"""Who gets in, and who may ask for what."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, Field, SecretStr


class People(BaseModel):
    """Who gets in, and who may ask for what."""

    mlhub_admin_password: SecretStr | None = Field(
        None,
        description=(
            "Create the user `admin` with this password at first boot instead of printing a "
            "one-time setup link. Also as `MLHUB_ADMIN_PASSWORD_FILE`."
        ),
    )
    dynamic_whitelist_enabled: bool = Field(
        False,
        description=(
            "Let only the users named in `/resources/users/dynamic_whitelist.txt` (one per line, "
            "read again when it changes) log in, whatever the authenticator. If the file does not "
            "exist, the authenticator's own rules apply."
        ),
    )
    policy_file: Path = Field(
        Path("/resources/policy.yaml"),
        description=(
            "The site's policy: who may ask for what. Read again when it changes; without the file "
            "the defaults hold."
        ),
    )
