"""The reference of REST endpoints has each one that people and programs ask for."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OPENAPI = json.loads((ROOT / "docs/reference/openapi.json").read_text())
REQUESTS = [(path, method) for path, methods in OPENAPI["paths"].items() for method in methods]


@pytest.mark.parametrize(("path", "method"), REQUESTS)
def test_each_request_says_what_it_does_and_names_what_its_path_takes(path, method):
    told = OPENAPI["paths"][path][method]
    names = [each["name"] for each in told.get("parameters", ())]
    assert names == re.findall(r"{(\w+)}", path)
    assert len(set(names)) == len(names)
    assert not re.search(r"[()\[\]^]", path)
    assert len(told["summary"]) > 20


def test_every_reference_within_the_description_leads_somewhere():
    text = json.dumps(OPENAPI)
    for target in set(re.findall(r'"\$ref": "#/([^"]+)"', text)):
        place = OPENAPI
        for name in target.split("/"):
            place = place[name]


@pytest.mark.parametrize(
    "request_line",
    [
        "get /hub/api/users/{user}/options-schema",
        "post /hub/api/policy/explain",
        "patch /hub/api/users/{user}/servers/{server}/workspace",
        "post /hub/api/users/{user}/ssh-keys",
        "delete /hub/api/trash/{trash}",
        "post /hub/api/users/{user}/invitation",
        "put /hub/api/users/{user}/authorization",
        "post /hub/api/users/{user}/unlock",
        "get /services/cleanup-service/{task}",
    ],
)
def test_what_the_pages_speak_of_is_there(request_line):
    method, path = request_line.split()
    assert method in OPENAPI["paths"][path]


def test_no_page_is_among_them():
    assert "/services/cleanup-service" not in OPENAPI["paths"]
