"""The base class of pages that show or take secrets."""

from __future__ import annotations

from typing import Any

from tornado import web

from mlhub.texts import Text
from mlhub.web.handlers import MLHubHandler


class AccountPage(MLHubHandler):
    """Base of all pages that show or take secrets."""

    def set_default_headers(self) -> None:
        """Keep these pages out of caches, and their addresses out of Referer headers."""
        super().set_default_headers()
        self.set_header("Cache-Control", "no-store")
        self.set_header("Referrer-Policy", "no-referrer")

    def check_xsrf_cookie(self) -> None:
        """Explain a form whose token is missing or too old."""
        try:
            super().check_xsrf_cookie()
        except web.HTTPError as error:
            self.log.warning("Refused a form without a valid XSRF token: %s", error)
            raise web.HTTPError(
                403, Text("This form is invalid or has expired. Load the page again and retry.")
            ) from error

    def field(self, name: str) -> str:
        """Return a form field as it was typed; ``""`` if it is missing."""
        return str(self.get_body_argument(name, "", strip=False))

    async def show(
        self,
        template: str,
        message: str = "",
        *,
        alert: str = "danger",
        status: int = 200,
        **values: Any,
    ) -> None:
        """Answer with a page, and a message on it."""
        self.set_status(status)
        values.update(
            authenticator=self.authenticator, result_message=message, alert=f"alert-{alert}"
        )
        self.finish(await self.render_template(template, **values))
