"""The pages of people who have, or want, an account: sign in, sign up, confirm, change the
password.

Invariants: GET changes nothing, POST needs the XSRF token, and no answer tells whether a name
exists.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from jupyterhub.handlers.login import LoginHandler
from nativeauthenticator.handlers import EmailAuthorizationHandler as UpstreamConfirmation
from nativeauthenticator.orm import UserInfo
from tornado import web
from tornado.escape import json_decode
from tornado.httpclient import AsyncHTTPClient, HTTPClientError

from mlhub.signin.native.rules import MAX_USERNAME_CHARACTERS
from mlhub.signin.origin import find_source
from mlhub.texts import Text, join
from mlhub.web.pages import AccountPage

_RECAPTCHA_URL = "https://www.google.com/recaptcha/api/siteverify"


class SignInHandler(AccountPage, LoginHandler):
    """Let people in; the form and the redirect are JupyterHub's own."""

    check_xsrf_cookie = LoginHandler.check_xsrf_cookie

    def _render(
        self, login_error: str | None = None, username: str | None = None, **values: Any
    ) -> Any:
        return super()._render(
            login_error=login_error, username=(username or "")[:MAX_USERNAME_CHARACTERS], **values
        )

    async def post(self) -> None:
        """Sign somebody in, or show the form again."""
        if not self.field("username") or not self.field("password"):
            self.set_status(403)
            self.finish(
                await self._render(
                    login_error=Text("Enter username and password."),
                    username=self.field("username"),
                )
            )
            return
        await super().post()


class SignUpHandler(AccountPage):
    """Register an account: anybody's, to be authorized, or the first administrator's by code."""

    async def get(self) -> None:
        """Show the form; with ``?setup=`` the one for the first administrator."""
        code = self.get_query_argument("setup", "")
        if not code and not self.authenticator.enable_signup:
            raise web.HTTPError(
                404,
                Text(
                    "Signing up is switched off on this hub. Ask an administrator for an account."
                ),
            )
        if code and not self.authenticator.awaits_setup:
            await self.show(
                "signup.html",
                Text("The administrator was set up already; this link works once."),
                alert="warning",
                status=410,
            )
            return
        await self.show("signup.html", setup_code=code)

    async def post(self) -> None:
        """Register an account; the answer is the same whether or not its name is free."""
        code = self.field("setup")
        if not code and not self.authenticator.enable_signup:
            raise web.HTTPError(
                404,
                Text(
                    "Signing up is switched off on this hub. Ask an administrator for an account."
                ),
            )
        complaint = await self._explain()
        values = {
            "setup_code": code,
            "username": self.field("username")[:MAX_USERNAME_CHARACTERS],
            "email": self.field("email")[:128],
        }
        if complaint:
            await self.show("signup.html", complaint, status=400, **values)
        elif code:
            await self._set_up(code, values)
        else:
            await self._sign_up(values)

    async def _explain(self) -> str:
        if self.field("signup_password") != self.field("signup_password_confirmation"):
            return Text("The two passwords differ. Type the same one twice.")
        if self.authenticator.tos and not self.field("tos"):
            return Text("Accept the terms of service to sign up.")
        if (
            self.authenticator.ask_email_on_signup
            and not self.field("email")
            and not self.field("setup")
        ):
            return Text("Enter your e-mail address.")
        username, password = self.field("username"), self.field("signup_password")
        complaint = str(self.authenticator.explain_signup(username, password, self.field("email")))
        if not complaint and self.authenticator.recaptcha_key and not await self._is_human():
            complaint = Text("The check that you are human failed. Try again.")
        return complaint

    async def _is_human(self) -> bool:
        answer = {
            "secret": self.authenticator.recaptcha_secret,
            "response": self.field("g-recaptcha-response"),
        }
        try:
            response = await AsyncHTTPClient().fetch(
                _RECAPTCHA_URL, method="POST", body=urlencode(answer), request_timeout=10
            )
        except (HTTPClientError, OSError) as error:
            self.log.error("reCAPTCHA does not answer: %s", error)
            return False
        return bool(json_decode(response.body).get("success"))

    async def _set_up(self, code: str, values: dict[str, str]) -> None:
        source = find_source(self.request.remote_ip)
        self.authenticator.refuse_if_locked(
            self.authenticator.setup_lockout, source, "the setup code"
        )
        if await self.authenticator.set_up_admin(
            self, code, self.field("username"), self.field("signup_password")
        ):
            self.authenticator.setup_lockout.forget(source)
            name, password = self.field("username"), self.field("signup_password")
            user = await self.login_user({"username": name, "password": password})
            if user is not None:
                # What is to be looked at before people come: mlhub/admin/doctor_pages.py
                first = f"{self.hub.base_url}admin/checklist"
                self.redirect(self.get_next_url(user, default=first))
                return
            # The site's own rules, such as the list of those who may sign in, keep them out.
            await self.show(
                "signup.html",
                Text("The administrator is set up. Sign in now."),
                alert="success",
                is_done=True,
            )
            return
        self.log.warning("A wrong setup code was sent from %s.", self.request.remote_ip)
        message = Text(
            "The setup code is wrong or was used already. The current link stands in the hub's log."
        )
        await self.show("signup.html", message, status=403, **values)

    async def _sign_up(self, values: dict[str, str]) -> None:
        native = self.authenticator
        if native.is_crowded():
            message = Text(
                "Too many accounts wait for authorization. Ask an administrator of"
                " this hub to look through them, then try again."
            )
            await self.show("signup.html", message, status=503, **values)
            return
        wants_2fa = bool(native.allow_2fa and self.field("2fa"))
        account = await native.sign_up(
            self,
            self.field("username"),
            self.field("signup_password"),
            self.field("email"),
            wants_2fa,
        )
        if account is not None:
            self.log.info(
                "Somebody signed up as %r from %s.", account.username, self.request.remote_ip
            )
            native.mail_approval(account)
        # A secret is shown for a taken name as well: it is of no use, and tells nothing.
        secret = (account or UserInfo()).otp_secret if wants_2fa else ""
        next_step = (
            Text("sign in.")
            if native.open_signup
            else Text("sign in as soon as an administrator has authorized you.")
        )
        if native.allow_self_approval_for:
            next_step = Text(
                "open the link that is sent to your e-mail address, or wait for an administrator."
            )
        received = Text(
            "Your sign-up was received. If the name is free and not kept for an administrator, it"
            " is yours:"
        )
        message = join(received, next_step)
        await self.show("signup.html", message, alert="success", is_done=True, otp_secret=secret)


class ConfirmationHandler(AccountPage):
    """Authorize an account by the signed link that was sent by e-mail."""

    def _find(self, slug: str) -> UserInfo | None:
        if not self.authenticator.allow_self_approval_for:
            return None
        try:
            claim = UpstreamConfirmation.validate_slug(slug, self.authenticator.secret_key)
        except ValueError:
            return None
        return self.authenticator.accounts.find(claim["username"])

    async def get(self, slug: str) -> None:
        """Show a button; mail scanners open links, so a GET authorizes nobody."""
        account = self._find(slug)
        if account is None:
            await self.show("confirm.html", Text("The link is invalid or has expired."), status=404)
            return
        await self.show("confirm.html", user_name=account.username)

    async def post(self, slug: str) -> None:
        """Authorize the account of the link."""
        account = self._find(slug)
        if account is None:
            await self.show("confirm.html", Text("The link is invalid or has expired."), status=404)
            return
        self.authenticator.accounts.authorize(account)
        self.log.info("%r was authorized by an e-mailed link.", account.username)
        await self.show(
            "confirm.html", Text("Your account is authorized. Sign in now."), alert="success"
        )


class ChangePasswordHandler(AccountPage):
    """Change one's own password."""

    @web.authenticated
    async def get(self) -> None:
        """Show the form, and that it was done."""
        is_done = bool(self.get_query_argument("done", ""))
        message = Text("Your password is changed.") if is_done else ""
        name = self.current_user.name
        await self.show("change-password.html", message, alert="success", user_name=name)

    @web.authenticated
    async def post(self) -> None:
        """Change the password of the person who is signed in; their other sessions end."""
        user, native = self.current_user, self.authenticator
        complaint = await self._explain(user.name)
        if complaint:
            await self.show("change-password.html", complaint, status=400, user_name=user.name)
            return
        hashed = await native.hash(self, self.field("new_password"))
        account = native.accounts.find(user.name)
        if account is None:
            raise web.HTTPError(
                404, Text("Your account was removed meanwhile. Ask an administrator.")
            )
        native.accounts.set_password(account, hashed)
        self.log.info("%r changed their password.", user.name)
        self.set_login_cookie(user)
        # The page is loaded anew: the XSRF token of this one ends with the session.
        self.redirect(f"{self.hub.base_url}change-password?done=yes")

    async def _explain(self, username: str) -> str:
        native = self.authenticator
        account = native.accounts.find(username)
        if account is None:
            return Text("You have no password on this hub. An administrator can give you one.")
        if self.field("new_password") != self.field("new_password_confirmation"):
            return Text("The two new passwords differ. Type the same one twice.")
        complaint = str(native.explain_password(self.field("new_password"), username))
        if complaint:
            return complaint
        # A borrowed session must not become a way to try passwords without end.
        native.refuse_if_locked(native.password_lockout, username, "this name")
        if not await native.verify(self, self.field("old_password"), account.password):
            return Text("The current password is wrong.")
        native.password_lockout.forget(username)
        return ""


def list_handlers() -> list[tuple[str, type]]:
    """Return the routes of this module, relative to the hub's prefix."""
    return [
        (r"/login", SignInHandler),
        (r"/signup", SignUpHandler),
        (r"/confirm/([^/]*)", ConfirmationHandler),
        (r"/change-password", ChangePasswordHandler),
    ]
