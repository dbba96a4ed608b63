"""The chart's files agree with each other, the product, and what the original promised."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from mlhub import __version__
from tests.support.chart_files import CHART, ORIGINAL, SCHEMA, VALUES


def list_paths(section: dict[str, Any], prefix: str = "") -> list[tuple[str, dict[str, Any]]]:
    paths = []
    for name, child in section.get("properties", {}).items():
        paths.append((f"{prefix}{name}", child))
        paths += list_paths(child, f"{prefix}{name}.")
    return paths


def has_default(path: str) -> bool:
    section: Any = VALUES
    for name in path.split("."):
        if not isinstance(section, dict) or name not in section:
            return False
        section = section[name]
    return True


def test_the_charts_version_is_the_products_as_semver():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    match = re.fullmatch(r"(\d+\.\d+\.\d+)(?:\.?(a|b|rc|dev)(\d+))?", __version__)
    assert match, __version__
    assert chart["version"] == (f"{match[1]}-{match[2]}.{match[3]}" if match[2] else match[1])
    # The image's tag: SemVer's "+" is not allowed there.
    assert chart["appVersion"] == chart["version"]
    assert chart["name"] == "mlhub-chart"


@pytest.mark.parametrize("path", ORIGINAL.split())
def test_every_value_of_the_original_has_its_place(path):
    assert path in dict(list_paths(SCHEMA))


def test_every_value_is_described_and_has_a_default():
    for path, section in list_paths(SCHEMA):
        assert section.get("description", "").endswith((".", ")")), path
        if path != "global":
            assert has_default(path), f"{path} is not in values.yaml"


def test_every_default_is_in_the_schema():
    known = dict(list_paths(SCHEMA))

    def check(values: dict[str, Any], prefix: str) -> None:
        for name, value in values.items():
            assert f"{prefix}{name}" in known, f"{prefix}{name} is not in values.schema.json"
            if isinstance(value, dict) and "properties" in known[f"{prefix}{name}"]:
                check(value, f"{prefix}{name}.")

    check(VALUES, "")


def test_a_typo_is_refused_wherever_the_chart_knows_all_keys():
    for path, section in list_paths(SCHEMA):
        if "properties" in section:
            assert section["additionalProperties"] is False, path
    assert SCHEMA["additionalProperties"] is False
