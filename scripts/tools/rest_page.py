"""The reference of our own REST endpoints, for people and as OpenAPI, read from their handlers."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mlhub import __version__
from mlhub.hub.rooms import ROOMS
from mlhub.options.model import WorkspaceOptions
from mlhub.signin.native.invitation_handlers import list_invitation_handlers
from mlhub.signin.native.person_api import list_person_api_handlers

METHODS = ("get", "post", "put", "patch", "delete")
# What the hub's own programs, pages and workspaces ask.
INTERNAL = re.compile(r"/api/(mlhub|ssh|authorizations)/|/card$|/notices$|/metrics$")
INTRODUCTION = """# REST

<!-- Written by scripts/docs from the handlers; openapi.json has the same. -->

What the hub answers beside \
[JupyterHub's own REST API](https://jupyterhub.readthedocs.io/en/stable/reference/rest-api.html), \
which is all there, as [OpenAPI](openapi.json) too. A token comes as `Authorization: token …`; \
people make theirs at `/hub/token`, with the scopes that a row names. What is refused is answered \
as `{"status": 400, "message": "…", "error": "MLHUB-E021"}` ([messages](errors.md)), and field by \
field in `fields` where it is about [options](policy.md#what-people-ask-for).

Options of a start are the body of JupyterHub's `POST /hub/api/users/{user}/server` and \
`…/servers/{server}`.

| Request | What it does | Scope | Keys of the body |
|---|---|---|---|
"""


@dataclass(frozen=True)
class Endpoint:
    """One request that is answered."""

    method: str
    path: str
    summary: str
    scopes: tuple[str, ...]
    keys: tuple[str, ...]

    @property
    def parameters(self) -> list[str]:
        """List the names in the path."""
        return re.findall(r"{(\w+)}", self.path)


def list_endpoints() -> list[Endpoint]:
    """List all endpoints of ours that answer with data."""
    found = []
    every = [("/hub", each) for room in ROOMS for each in room.handlers]
    every += [("/hub", each) for each in list_invitation_handlers()]
    every += [("/hub", each) for each in list_person_api_handlers()]
    every += [("", each) for room in ROOMS for each in room.outer_handlers]
    for prefix, (pattern, handler, *_) in every:
        is_page = bool(prefix) and not pattern.startswith("/api/")
        if not is_page and not INTERNAL.search(pattern):
            found += _read_handler(prefix + write_path(pattern), handler)
    return sorted(found, key=lambda each: (each.path, METHODS.index(each.method)))


def write_path(pattern: str) -> str:
    """Write a handler's pattern as a template: each group by what stands before it."""
    path = pattern.removesuffix("/?")
    while match := re.search(r"([\w-]+)/\((?:[^()]|\([^()]*\))*\)\??", path):
        name = "task" if "|" in match[0] else re.sub(r"\W", "_", match[1].removesuffix("s"))
        path = f"{path[: match.start()]}{match[1]}/{{{name}}}{path[match.end() :]}"
    return re.sub(r"\(\?:.*", "", path)


def _read_handler(path: str, handler: Any) -> Iterator[Endpoint]:
    for method in METHODS:
        function = getattr(handler, method, None)
        if function is None or not inspect.unwrap(function).__module__.startswith("mlhub"):
            continue
        source = inspect.getsource(inspect.unwrap(function))
        reading = re.search(r"read_body\(([^)]*)\)", source)
        yield Endpoint(
            method,
            path,
            _read_summary(handler, function),
            tuple(_read_scopes(inspect.unwrap(function), source)),
            tuple(re.findall(r'"(\w+)"', reading[1] if reading else "")),
        )


def _read_scopes(function: Any, source: str) -> Iterator[str]:
    for word in re.findall(r"@needs_scope\(([^)]+)\)", source):
        yield word.strip('"') if word.startswith('"') else function.__globals__[word]


def _read_summary(handler: Any, function: Any) -> str:
    texts = (inspect.getdoc(each) or "" for each in (handler, function))
    of_class, of_method = (" ".join(text.split("\n\n")[0].split()) for text in texts)
    return f"{of_class.rstrip('.')}: {of_method[:1].lower()}{of_method[1:]}".replace("``", "`")


def render_rest() -> str:
    """Return the page."""
    rows = []
    for each in list_endpoints():
        scopes = ", ".join(f"`{scope}`" for scope in each.scopes)
        keys = ", ".join(f"`{key}`" for key in each.keys)
        rows.append(f"| `{each.method.upper()} {each.path}` | {each.summary} | {scopes} | {keys} |")
    return INTRODUCTION + "\n".join(rows) + "\n"


def render_openapi() -> str:
    """Return the description for programs."""
    paths: dict[str, dict[str, Any]] = {}
    for each in list_endpoints():
        paths.setdefault(each.path, {})[each.method] = _describe(each)
    document = {
        "openapi": "3.1.0",
        "info": {"title": "MLHub", "version": __version__},
        "paths": paths,
        "components": {
            "securitySchemes": {
                "token": {"type": "apiKey", "in": "header", "name": "Authorization"}
            },
            "schemas": {
                "Options": WorkspaceOptions.model_json_schema(
                    ref_template="#/components/schemas/{model}"
                ),
                "Error": {
                    "type": "object",
                    "properties": {
                        "status": {"type": "integer"},
                        "message": {"type": "string"},
                        "error": {"type": "string", "pattern": "^MLHUB-E[0-9]{3}$"},
                        "fields": {"type": "object", "additionalProperties": {"type": "string"}},
                        "rules": {"type": "object", "additionalProperties": {"type": "string"}},
                    },
                },
            },
        },
        "security": [{"token": []}],
    }
    return json.dumps(document, indent=1) + "\n"


def _describe(endpoint: Endpoint) -> dict[str, Any]:
    words: dict[str, Any] = {
        "summary": endpoint.summary,
        "responses": {
            "2XX": {"description": "Done."},
            "4XX": {
                "description": "Refused.",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
            },
        },
    }
    if endpoint.parameters:
        words["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in endpoint.parameters
        ]
    if endpoint.keys:
        options = {"$ref": "#/components/schemas/Options"}
        properties = {key: options if key == "options" else {} for key in endpoint.keys}
        schema = {"type": "object", "properties": properties, "additionalProperties": False}
        words["requestBody"] = {"content": {"application/json": {"schema": schema}}}
    if endpoint.scopes:
        words["x-scopes"] = list(endpoint.scopes)
    return words
