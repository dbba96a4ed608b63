"""Who gets what of the hub in a browser, where workspaces share its origin.

A page of a workspace may send the hub any request that a page of the hub sends, with the visitor's
cookies, and may name any address of the origin as its ``Referer``. What no script can choose are
the ``Sec-Fetch-*`` headers: https://www.w3.org/TR/fetch-metadata/

Invariants: HTML goes to a window of its own and to nothing else: no script, frame, worker or
prefetch gets a page of the hub, and with it the XSRF token. Clients that send none of these headers
are answered as ever: programs, browsers older than 2023, and, over plain HTTP, every browser (only
addresses of the machine itself are excepted).
"""

from __future__ import annotations

import re
from typing import Any

from jupyterhub.apihandlers.base import APIHandler
from jupyterhub.handlers.base import (
    BaseHandler,
    CSPReportHandler,
    PrefixRedirectHandler,
    UserUrlHandler,
)
from tornado import web
from tornado.httputil import HTTPHeaders, HTTPServerRequest

SENTENCE = (
    "This answer of the hub is only for a browser's window: no script, frame or worker of a page"
    " gets it. Open its address."
)
OTHER_HOST = "This host name is a workspace's. The hub has another one."
OPENER_POLICY = "Cross-Origin-Opener-Policy"
# What a site allows to frame the hub: https://www.w3.org/TR/CSP3/#directive-frame-ancestors
_ANCESTORS = re.compile(r"(?:^|;)\s*frame-ancestors\s+([^;]*)", re.IGNORECASE)
# The first version that knows "noopener-allow-popups".
_CHROMIUM = re.compile(r'"Chromium";\s*v="(\d+)')
_SEVERING_CHROMIUM = 131
# Answers of these are looked at when they are there: an address of a workspace that does not run
# may be its API's.
_MIXED = (UserUrlHandler, PrefixRedirectHandler)


def is_framed(headers: HTTPHeaders) -> bool:
    """Return True if the site's own headers name somebody who may frame the hub."""
    named = _ANCESTORS.search(headers.get("Content-Security-Policy", ""))
    return bool(named and named[1].strip().lower() not in ("", "'none'"))


def explain_wide_frames(headers: HTTPHeaders) -> str:
    """Return what is wrong with a site's ``frame-ancestors``; an empty text where nothing is."""
    named = _ANCESTORS.search(headers.get("Content-Security-Policy", ""))
    wide = [
        word
        for word in (named[1].split() if named else ())
        if word.lower() == "'self'" or word == "*" or word.endswith(":")
    ]
    if not wide:
        return ""
    return (
        f"frame-ancestors {' '.join(wide)} lets pages of workspaces read the hub's in a frame, and"
        " act for whoever looks at them. Name the sites that embed the hub alone, or give"
        " workspaces host names of their own (MLHUB_SUBDOMAIN_HOST)."
    )


def protect(tornado_settings: dict[str, Any]) -> None:
    """Add to ``c.JupyterHub.tornado_settings`` what the site has not set itself: headers of all
    answers, flags of cookies.
    """
    headers = HTTPHeaders(tornado_settings.get("headers", {}))
    if not is_framed(headers):
        # Some browsers know this one alone.
        headers.setdefault("X-Frame-Options", "DENY")
    headers.setdefault(OPENER_POLICY, "same-origin")
    headers.setdefault("X-Content-Type-Options", "nosniff")
    # The rest of an address (a setup code, where somebody goes next) is not for the workspace whose
    # link is followed.
    headers.setdefault("Referrer-Policy", "strict-origin")
    # From the browser's cache a script could read a page without asking the hub.
    headers.setdefault("Cache-Control", "no-store")
    tornado_settings["headers"] = dict(headers)
    cookies = {"samesite": "Lax", **tornado_settings.get("cookie_options", {})}
    tornado_settings["cookie_options"] = cookies
    # The pages of the hub have the token in their text. In a readable cookie any page of the origin
    # has it:
    # history.pushState() makes the cookies of each path its own.
    tornado_settings["xsrf_cookie_kwargs"] = {
        **cookies,
        "httponly": True,
        **tornado_settings.get("xsrf_cookie_kwargs", {}),
    }


def is_navigation(headers: HTTPHeaders, *, framed: bool) -> bool:
    """Return True if an answer is shown in a window of its own (or a frame, where the site allows
    some).
    """
    mode, destination = headers.get("Sec-Fetch-Mode"), headers.get("Sec-Fetch-Dest")
    if mode is None and destination is None and "Sec-Fetch-Site" not in headers:
        return True
    if "prefetch" in headers.get("Sec-Purpose", ""):
        return False
    return mode == "navigate" and destination in (
        ("document", "iframe", "frame") if framed else ("document",)
    )


def explain_refusal(
    request: HTTPServerRequest, handler: type[web.RequestHandler], *, framed: bool
) -> str:
    """Return why a request is not answered at all; an empty text where it is."""
    headers = request.headers
    if headers.get("Service-Worker") == "script":
        return "The hub has no service worker."
    if issubclass(handler, APIHandler):
        return "" if headers.get("Authorization") else _explain_api_refusal(headers, framed=framed)
    if issubclass(handler, CSPReportHandler) and headers.get("Sec-Fetch-Dest") == "report":
        return ""
    if (
        issubclass(handler, BaseHandler)
        and not issubclass(handler, _MIXED)
        and not is_navigation(headers, framed=framed)
    ):
        return SENTENCE
    return ""


def _explain_api_refusal(headers: HTTPHeaders, *, framed: bool) -> str:
    """Return why the REST API does not answer a browser that brings cookies alone, whatever its
    XSRF token.
    """
    mode = headers.get("Sec-Fetch-Mode")
    if mode == "navigate":
        return "" if is_navigation(headers, framed=framed) else SENTENCE
    if mode == "no-cors":
        # JupyterHub asks these for no XSRF token, and a script of the same origin reads the answer.
        return (
            "The REST API answers a page's script only in another mode than no-cors, with the XSRF"
            " token."
        )
    if headers.get("Sec-Fetch-Site") == "cross-site" and headers.get("Cookie"):
        return "The REST API does not answer other sites' pages by cookie. Use a token."
    return ""


def is_on_workspace_host(request: HTTPServerRequest, domain: str) -> bool:
    """Return True if a request came by a host name below the hub's own ``domain`` (empty without
    ``subdomain_host``).
    """
    return bool(domain) and request.host_name.lower().rstrip(".").endswith(f".{domain.lower()}")


class RefusalHandler(web.RequestHandler):
    """Answer with a sentence, without a look at who asks."""

    def initialize(self, status: int, sentence: str) -> None:
        """Take what is to be said."""
        self.status, self.sentence = status, sentence

    def check_xsrf_cookie(self) -> None:
        """Let pass: nothing is done here."""

    def prepare(self) -> None:
        """Refuse every method alike."""
        self.set_status(self.status)
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.set_header("Cache-Control", "no-store")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.finish(f"{self.sentence}\n")


class PageGuard(web.OutputTransform):
    """Keep HTML from whatever is no window: error pages have the XSRF token too, whoever writes
    them.
    """

    framed = False

    def __init__(self, request: HTTPServerRequest) -> None:
        self.headers = request.headers
        self.is_refused = False

    def transform_first_chunk(
        self, status_code: int, headers: HTTPHeaders, chunk: bytes, finishing: bool
    ) -> tuple[int, HTTPHeaders, bytes]:
        """Put a sentence in the place of a page, or cut the page from whoever opened its window."""
        is_page = (
            headers.get("Content-Type", "").startswith("text/html") and not 300 <= status_code < 400
        )
        if is_page and not is_navigation(self.headers, framed=self.framed):
            self.is_refused = True
            for name in ("Content-Encoding", "Etag"):
                headers.pop(name, None)
            chunk = f"{SENTENCE}\n".encode()
            headers["Content-Type"] = "text/plain; charset=utf-8"
            headers["Content-Length"] = str(len(chunk))
            return status_code if status_code >= 400 else 403, headers, chunk
        version = _CHROMIUM.search(self.headers.get("Sec-CH-UA", ""))
        if (
            headers.get(OPENER_POLICY) == "same-origin"
            and version
            and int(version[1]) >= _SEVERING_CHROMIUM
        ):
            # A page of a workspace may have "same-origin" from its service worker, and would keep
            # its hold on the window.
            headers[OPENER_POLICY] = "noopener-allow-popups"
        return status_code, headers, chunk

    def transform_chunk(self, chunk: bytes, finishing: bool) -> bytes:
        """Let nothing follow the sentence."""
        return b"" if self.is_refused else chunk


class LanguageMark(web.OutputTransform):
    """Tell caches that a page is another one for readers of another language."""

    def transform_first_chunk(
        self, status_code: int, headers: HTTPHeaders, chunk: bytes, finishing: bool
    ) -> tuple[int, HTTPHeaders, bytes]:
        """Add to ``Vary``."""
        if headers.get("Content-Type", "").startswith("text/html"):
            headers["Vary"] = ", ".join(filter(None, (headers.get("Vary"), "Accept-Language")))
        return status_code, headers, chunk


class GuardedApplication(web.Application):
    """JupyterHub's application, which looks at each request before a handler does."""

    def __init__(self, handlers: list[Any], **settings: Any) -> None:
        super().__init__(handlers, **settings)
        self.framed = is_framed(HTTPHeaders(settings.get("headers", {})))
        guard = type("SitePageGuard", (PageGuard,), {"framed": self.framed})
        # First: the site may have answers compressed, after this.
        self.transforms[:0] = [guard, LanguageMark]

    def get_handler_delegate(
        self,
        request: HTTPServerRequest,
        target_class: type[web.RequestHandler],
        *arguments: Any,
        **named: Any,
    ) -> Any:
        """Return what answers a request: its handler, or a refusal."""
        # Handlers run in a task of their own, which begins with what is set here.
        # A program brings a token, and reads English; a page's script brings the page's cookie.
        asked = "" if "Authorization" in request.headers else request.headers.get("Accept-Language")
        self.settings["mlhub_languages"].speak(asked or "")
        domain = self.settings.get("domain", "") if self.settings.get("subdomain_host") else ""
        if is_on_workspace_host(request, domain) and not issubclass(
            target_class, PrefixRedirectHandler
        ):
            return self._refuse(request, 404, OTHER_HOST)
        if sentence := explain_refusal(request, target_class, framed=self.framed):
            return self._refuse(request, 403, sentence)
        if issubclass(target_class, UserUrlHandler) and not is_navigation(
            request.headers, framed=self.framed
        ):
            # JupyterHub answers so to the API of a workspace that does not run; a script can do
            # nothing with the page.
            request.headers["Accept"] = "application/json"
        return super().get_handler_delegate(request, target_class, *arguments, **named)

    def _refuse(self, request: HTTPServerRequest, status: int, sentence: str) -> Any:
        return super().get_handler_delegate(
            request, RefusalHandler, {"status": status, "sentence": sentence}
        )
