"""What the doctor says of a hub that runs."""

from __future__ import annotations

import json
import subprocess

from tests.support.hub_container import docker


def examine(hub) -> tuple[int, dict[str, dict[str, str]]]:
    command = ["docker", "exec", hub.name, "mlhub", "doctor", "--json"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return result.returncode, {each["subject"]: each for each in json.loads(result.stdout)}


def test_a_hub_that_works_has_nothing_that_fails(tls_hub):
    code, found = examine(tls_hub)
    assert code == 0, found
    expected = {"programs", "address", "SSH", "data", "database", "policy", "engine", "clock"}
    assert {name for name in expected if found[name]["level"] != "ok"} == set(), found
    assert found["TLS"]["level"] == "warning", "it has signed its certificate itself"
    assert found["TLS"]["cure"]
    assert found["data volume"]["level"] == "ok"
    text = docker("exec", tls_hub.name, "mlhub", "doctor")
    assert "ok       database" in text
