"""The base of our own handlers: how much of a body they read, how they answer our errors, and which
answers are no news.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from types import MappingProxyType
from typing import Any

from jupyterhub.apihandlers.base import APIHandler
from jupyterhub.handlers import BaseHandler
from jupyterhub.metrics import prometheus_log_method
from tornado import web

from mlhub.errors import MLHubError, friendly_errors
from mlhub.options.model import FieldsError
from mlhub.texts import Text, explain, translate

MAX_BODY_BYTES = 64 * 1024


class MLHubHandler(BaseHandler):
    """Base of our pages and REST handlers."""

    max_body_bytes = MAX_BODY_BYTES
    # Answers that anybody may cause as often as they like, or that tell nothing new.
    quiet_statuses: frozenset[int] = frozenset()
    # What the record tells of a request beside what its address says.
    told: Mapping[str, Any] = MappingProxyType({})

    async def prepare(self) -> None:
        """Refuse a large body before anything reads it."""
        if len(self.request.body) > self.max_body_bytes:
            self.request.body_arguments.clear()
            self.request.arguments.clear()
            raise web.HTTPError(
                413,
                Text(
                    "The body is larger than %(max_body_bytes)s KiB.",
                    max_body_bytes=self.max_body_bytes // 1024,
                ),
            )
        await super().prepare()

    def _log(self) -> None:
        if self.get_status() not in self.quiet_statuses:
            super()._log()
            return
        self.log.debug("%s %s %s", self.get_status(), self.request.method, self.request.path)
        prometheus_log_method(self)


class MLHubAPIHandler(MLHubHandler, APIHandler):
    """Base of our REST handlers: JSON in and out."""

    def read_body(self, *keys: str) -> dict[str, Any]:
        """Return the JSON body, an object with no other keys than these."""
        body = self.get_json_body() or {}
        if not isinstance(body, dict) or set(body) - set(keys):
            raise web.HTTPError(
                400,
                Text("The body is not a JSON object with the keys %(keys)s.", keys=", ".join(keys)),
            )
        return body

    def answer(self, model: Any, status: int = 200) -> None:
        """Send JSON."""
        self.set_status(status)
        self.set_header("Content-Type", "application/json")
        self.write(json.dumps(model))

    def write_error(self, status_code: int, **details: Any) -> None:
        """Answer an error in the language of the page whose script asks."""
        error = details.get("exc_info", (None, None, None))[1]
        message = error.get_message() if isinstance(error, web.HTTPError) else None
        if isinstance(message, Text):
            error.jupyterhub_message = translate(message)
        super().write_error(status_code, **details)

    def friendly_errors(self) -> AbstractContextManager[None]:
        """Answer our own errors with what is wrong, field by field where it is about fields."""
        return friendly_errors(self._answer_error)

    def _answer_error(self, error: MLHubError) -> web.Finish:
        model: dict[str, Any] = {
            "status": error.status_code,
            "message": translate(explain(error)),
            "error": error.id,
        }
        if isinstance(error, FieldsError):
            fields = {name: translate(text) for name, text in error.fields.items()}
            model |= {"fields": fields, "rules": error.rules}
        if error.status_code >= 500:
            self.log.warning("%s", error.numbered)
        self.answer(model, error.status_code)
        return web.Finish()
