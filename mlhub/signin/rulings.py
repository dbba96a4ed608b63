"""What becomes of the traits of JupyterHub's Authenticator, and of NativeAuthenticator."""

from __future__ import annotations

from typing import Any

from mlhub.errors import ConfigurationError
from mlhub.traits import REFUSAL_TEST, Rulings, honored, refused, without_effect

_RULINGS = "tests/unit/test_trait_rulings.py::"
REACHES = f"{_RULINGS}test_what_a_site_writes_of_sign_in_reaches_it"
MIN_KEY_CHARACTERS = 8

AUTHENTICATOR: Rulings = {
    **honored(
        REACHES,
        "admin_users allow_all allow_existing_users allowed_users any_allow_config"
        " auth_refresh_age auth_refresh_strict auto_login auto_login_oauth2_authorize"
        " delete_invalid_users enable_auth_state manage_groups manage_roles otp_prompt"
        " post_auth_hook reconcile_auth_state_hook refresh_pre_spawn refresh_pre_stop request_otp"
        " reset_managed_roles_on_startup username_map username_pattern",
    ),
    **honored(REACHES, "whitelist", "The old name of `allowed_users`."),
    **honored(
        "tests/hub/test_withdrawal.py::"
        "test_who_is_blocked_in_the_configuration_keeps_nothing_after_the_restart",
        "blocked_users",
        "What is open for them ends.",
    ),
}


def check_secret_key(value: Any) -> None:
    """Check the key that signs confirmations."""
    if value and len(value) < MIN_KEY_CHARACTERS:
        raise ConfigurationError(
            f"secret_key has {len(value)} characters. Write a random text of at least"
            f" {MIN_KEY_CHARACTERS}."
        )


NATIVE: Rulings = {
    **AUTHENTICATOR,
    **honored(
        REACHES,
        "allow_2fa ask_email_on_signup check_common_password enable_signup"
        " minimum_password_length open_signup recaptcha_key recaptcha_secret self_approval_email"
        " self_approval_server tos",
    ),
    **honored(REACHES, "allow_self_approval_for", "Needs a `secret_key`."),
    **honored(REACHES, "secret_key", "At least 8 characters.", check_secret_key),
    **honored(REACHES, "allowed_failed_logins seconds_before_next_try"),
    **refused(
        REFUSAL_TEST,
        "request_otp",
        "accounts of the hub's own have one-time passwords by another name. Write"
        " c.NativeAuthenticator.allow_2fa = True.",
        [False],
    ),
    **refused(
        REFUSAL_TEST,
        "import_from_firstuse",
        "accounts of FirstUseAuthenticator cannot be taken over: nobody knows who chose their"
        " passwords. Remove the line, have people sign up, and authorize them; administrators set a"
        " password on the page “Authorize”.",
        [False],
    ),
    **without_effect(
        "delete_firstuse_db_after_import firstuse_db_path",
        "c.NativeAuthenticator.import_from_firstuse is refused, and nothing else uses it.",
    ),
    **without_effect("otp_prompt", "c.NativeAuthenticator.request_otp is refused."),
}


def check_self_approval(pattern: Any, key: Any) -> None:
    """Check that whoever may authorize themselves can be sent a signed link.

    Raises ``ConfigurationError``.
    """
    if pattern and len(key or "") < MIN_KEY_CHARACTERS:
        raise ConfigurationError(
            "c.NativeAuthenticator.allow_self_approval_for needs c.NativeAuthenticator.secret_key,"
            f" a random text of at least {MIN_KEY_CHARACTERS} characters. Write it, or remove the"
            " line."
        )
