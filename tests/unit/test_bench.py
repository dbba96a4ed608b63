"""What scripts/bench makes of numbers and answers, and the files that it hands to a cluster."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from string import Template

import pytest
import yaml

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module", autouse=True)
def tools():
    sys.path.insert(0, str(ROOT / "scripts"))
    yield
    sys.path.remove(str(ROOT / "scripts"))


def make_user(name: str, pending: str | None = None, **server: object) -> dict:
    return {
        "name": name,
        "pending": pending,
        "servers": {"": {"name": "", **server}} if server else {},
    }


def test_a_workspace_is_ready_on_its_way_or_away():
    from tools.bench.kube import read_servers

    users = [
        make_user("ready", ready=True),
        make_user("starting", pending="spawn", ready=False),
        make_user("asked", pending="spawn"),
        make_user("away"),
    ]
    content = json.dumps([*users, make_user("stranger", ready=True)]).encode()
    assert read_servers(content, {"ready", "starting", "asked", "away"}) == ({"ready"}, {"away"})


def test_a_list_that_did_not_come_says_nothing_about_anybody():
    from tools.bench.kube import read_servers

    assert read_servers(b"[]", {"alice"}) == (set(), set())


def test_the_yardsticks_objects_are_whole_and_its_configuration_compiles():
    from tools.bench import kube

    facts = {"NAMESPACE": "here", "TOKEN": "secret", "IMAGE": "workspace:1", "HUB_IMAGE": "hub:1"}
    objects = yaml.safe_load(Template(kube.PEER.read_text()).substitute(facts))["items"]
    assert [each["kind"] for each in objects] == [
        "ServiceAccount",
        "Role",
        "RoleBinding",
        "ConfigMap",
        "Deployment",
        "Service",
    ]
    config = next(each for each in objects if each["kind"] == "ConfigMap")["data"][
        "jupyterhub_config.py"
    ]
    compile(config, "jupyterhub_config.py", "exec")
    assert '"workspace:1"' in config
    assert "$" not in config


@pytest.mark.parametrize("with_ssh", [True, False])
def test_the_charts_values_are_those_that_its_schema_knows(with_ssh):
    from jsonschema import Draft202012Validator
    from tools.bench.kube import make_values

    schema = json.loads((ROOT / "helmchart/mlhub/values.schema.json").read_text())
    Draft202012Validator(schema).validate(make_values("hub", "1", with_ssh))


def test_a_ratio_is_that_of_medians_and_missed_where_it_is_above_its_target():
    from tools.bench.report import compare

    samples = {
        "second start, MLHub": [1.0, 2.0, 9.0],
        "second start, peer": [2.0, 2.0, 4.0],
        "first start, MLHub": [1.0],
        "first start, peer": [2.0],
    }
    lines = {line["title"]: line for line in compare(samples)}
    assert (
        lines["kube: start -> Lab, second"]["ratio"],
        lines["kube: start -> Lab, second"]["reached"],
    ) == (1.0, False)
    assert (
        lines["kube: start -> Lab, first"]["ratio"],
        lines["kube: start -> Lab, first"]["reached"],
    ) == (0.5, True)


def test_beside_another_image_each_measure_of_both_is_a_line_and_may_grow_by_a_twentieth():
    from tools.bench.report import compare

    samples = {
        "first start, MLHub, our image": [1.04],
        "first start, other, our image": [1.0],
        "requests/s, MLHub": [90.0],
        "requests/s, other": [100.0],
        "memory MB, MLHub": [200.0],
        "docker run, our image": [1.0],
    }
    lines = {line["title"]: line for line in compare(samples)}
    assert lines["first start, our image"]["reached"]
    assert not lines["requests/s"]["reached"]
    assert "memory MB" not in lines


def test_two_hubs_of_one_run_have_names_of_their_own():
    from tools.bench.objects import MLHUB, OTHER, make_hub_name

    names = {make_hub_name("b01234567", name) for name in (MLHUB, OTHER)}
    assert len(names) == 2
    assert all(len(name) <= 5 for name in names)


def test_the_two_ends_of_a_proxied_connection_understand_each_other():
    program = [sys.executable, str(ROOT / "scripts/tools/bench/peer.py")]
    with subprocess.Popen([*program, "127.0.0.1"], stdout=subprocess.PIPE, text=True) as server:
        port = server.stdout.readline().strip()
        words = ["127.0.0.1", port, "/user/echo/socket", "2", "0.2"]
        assert float(subprocess.check_output([*program, *words], timeout=20)) > 0
        size = 2 << 20
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/bulk/{size}", timeout=20) as answer:
            assert len(answer.read()) == size
        server.kill()
