"""The first administrator: made with a given password, or by a one-time link from the hub's log."""

from __future__ import annotations

from typing import Any

from traitlets import Any as AnyTrait
from traitlets import Unicode

from mlhub.errors import SettingsError
from mlhub.signin.native.passwords import hash_password
from mlhub.signin.native.setup import (
    burn_setup_code,
    ensure_setup_code,
    has_setup_code,
    is_setup_code,
)
from mlhub.signin.native.signup import SignUpAuthenticator


class FirstAdminAuthenticator(SignUpAuthenticator):
    """The part of our authenticator that sees to an administrator."""

    admin_password: Any = AnyTrait(
        None,
        allow_none=True,
        config=True,
        help=(
            "Password (text or SecretStr) of the first administrator; the account is made at start."
        ),
    )
    setup_directory = Unicode(
        "",
        config=True,
        help=(
            "Directory of the one-time setup code for the first administrator. Empty: there is no"
            " such code."
        ),
    )

    public_service = Unicode(
        "",
        config=True,
        help=(
            "Service of Kubernetes under whose address people reach the hub, where no address is"
            " known."
        ),
    )

    def check_allow_config(self) -> None:
        """Prepare the first administrator; the hub calls this once, when its database is ready."""
        super().check_allow_config()
        names = self.list_admin_names()
        if not names:
            self.log.warning(
                "c.Authenticator.admin_users is empty: nobody can administrate this hub. Name at"
                " least one person."
            )
            return
        if self.admin_password and not self._has_admin():
            self.create_admin(
                getattr(self.admin_password, "get_secret_value", lambda: self.admin_password)()
            )
        self.announce_setup()

    def create_admin(self, password: str) -> None:
        """Make the first administrator's account with this password. Raises ``SettingsError`` if it
        is too weak.
        """
        name = self.list_admin_names()[0]
        complaint = self.explain_password(password, name)
        if complaint:
            raise SettingsError(f"MLHUB_ADMIN_PASSWORD is refused. {complaint}")
        self.accounts.put(name, hash_password(password))
        self.log.info(
            "Created the administrator %r with the password of MLHUB_ADMIN_PASSWORD.", name
        )

    def announce_setup(self) -> None:
        """Keep a setup code, and log its link, as long as there is no administrator."""
        if not self.setup_directory:
            return
        code = ensure_setup_code(self.setup_directory, has_admin=self._has_admin())
        if not code:
            return
        page = f"signup?setup={code}"
        if self.public_service and not self.parent.public_url:
            self.log.warning(
                "This hub has no administrator yet. Open this page once to choose the password,"
                " behind the address of the Service %s (kubectl get service %s): %s",
                *(self.public_service, self.public_service, f"{self.parent.hub_prefix}{page}"),
            )
            return
        self.log.warning(
            "This hub has no administrator yet. Open this link once to choose the password: %s",
            self.make_link(page),
        )

    @property
    def awaits_setup(self) -> bool:
        """Return True if the first administrator is still to be set up."""
        # Each sign-in page asks. The code is gone once it was used, and the database is left alone.
        return (
            bool(self.setup_directory and self.admin_users)
            and has_setup_code(self.setup_directory)
            and not self._has_admin()
        )

    async def set_up_admin(self, handler: Any, code: str, username: str, password: str) -> bool:
        """Register an administrator by the one-time code; tell whether the code was right."""
        username = self.normalize_username(username)
        if (
            not self.awaits_setup
            or username not in self.list_admin_names()
            or not is_setup_code(self.setup_directory, code)
        ):
            return False
        hashed = await self.hash(handler, password)
        # Burned first: of two who send the code at the same moment one gets the account.
        if not burn_setup_code(self.setup_directory, code):
            return False
        self.accounts.put(username, hashed)
        self.log.warning("The administrator %r was set up; the setup code is used up.", username)
        return True

    def _has_admin(self) -> bool:
        return any(
            (account := self.accounts.find(name)) and account.is_authorized
            for name in self.list_admin_names()
        )
