"""What every scenario of helmchart/mlhub/ci renders to, object by object, compared with
tests/chart/snapshots.

To write them anew, and then read the difference: MLHUB_TEST_REWRITE=1 ./scripts/test
chart/test_snapshots.py
"""

from __future__ import annotations

import difflib
import functools
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.chart_files import ORIGINAL, VALUES
from tests.support.helm import CHART, SCENARIOS, Objects, template, values_of, what_templates_need

SNAPSHOTS = Path(__file__).parent / "snapshots"
REWRITE = "MLHUB_TEST_REWRITE"
COMMAND = f"{REWRITE}=1 ./scripts/test chart/test_snapshots.py"
# Other scenarios only name what is the same here.
COMMON = "minimal"
VERSION = yaml.safe_load((CHART / "Chart.yaml").read_text())["version"]
CHECK = (CHART / "files" / "check.py").read_text().strip()
# Without effect, and accepted because values of the original have them.
IDLE = ("hub.deploymentStrategy.", "singleuser.networkTools.")


def normalize(value: Any) -> Any:
    """Take out what differs between two versions of the chart that render the same."""
    if isinstance(value, dict):
        return {key: normalize(child) for key, child in value.items()}
    if isinstance(value, list):
        return [normalize(child) for child in value]
    if not isinstance(value, str):
        return value
    if value.strip() == CHECK:
        return "(files/check.py)"
    return re.sub(r"^[0-9a-f]{64}$", "(sha256)", value.replace(VERSION, "(version)"))


def read_objects(scenario: str) -> dict[str, dict[str, Any]]:
    """Return what a scenario renders to, by kind and name."""
    objects: Objects = template(*values_of(scenario), *what_templates_need(scenario))
    found = {f"{each['kind']}/{each['metadata']['name']}": normalize(each) for each in objects}
    return dict(sorted(found.items()))


def make_snapshot(scenario: str) -> str:
    """Make the text of a snapshot: the names of what is the same as in the common one, then every
    other object.
    """
    objects = read_objects(scenario)
    common = {} if scenario == COMMON else read_objects(COMMON)
    same = [name for name, each in objects.items() if common.get(name) == each]
    documents = [{f"the same as in {COMMON}.yaml": same}] if same else []
    documents += [each for name, each in objects.items() if name not in same]
    return yaml.safe_dump_all(documents, width=140, default_flow_style=None)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_scenario_renders_to_its_snapshot(scenario):
    file, rendered = SNAPSHOTS / f"{scenario}.yaml", make_snapshot(scenario)
    if os.environ.get(REWRITE):
        file.write_text(rendered)
    kept = file.read_text() if file.exists() else ""
    difference = "\n".join(
        difflib.unified_diff(
            kept.splitlines(), rendered.splitlines(), file.name, "rendered now", lineterm="", n=8
        )
    )
    assert not difference, f"{difference}\n\nIf that is meant: {COMMAND}"


def test_there_is_no_snapshot_without_a_scenario():
    assert {file.stem for file in SNAPSHOTS.iterdir()} == set(SCENARIOS)


@functools.cache
def read_scenarios() -> list[dict[str, Any]]:
    """Return the values of every scenario."""
    return [
        yaml.safe_load((CHART / "ci" / f"{scenario}-values.yaml").read_text())
        for scenario in SCENARIOS
    ]


def find(path: str, values: Any) -> Any:
    """Return the value of that path; None where there is none."""
    for name in path.split("."):
        values = (values or {}).get(name)
    return values


@pytest.mark.parametrize("path", [path for path in ORIGINAL.split() if not path.startswith(IDLE)])
def test_every_value_of_the_original_is_another_than_its_default_in_some_scenario(path):
    assert [
        found
        for values in read_scenarios()
        if (found := find(path, values)) not in (None, find(path, VALUES))
    ]
