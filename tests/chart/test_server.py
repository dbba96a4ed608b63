"""The cluster's own API takes every object of every scenario, in a namespace that enforces `restricted`."""

from __future__ import annotations

import json

import pytest

from tests.chart.helm import SCENARIOS, pods, run, succeed, template, values_of, what_templates_need

# Of cert-manager, the Gateway API and Prometheus: a cluster may not know them.
OTHERS = {"Certificate", "HTTPRoute", "TCPRoute", "TLSRoute", "ServiceMonitor"}


@pytest.fixture(scope="module")
def known_kinds() -> set[str]:
    """Return the kinds that this cluster knows."""
    return {line.split()[-1] for line in succeed("kubectl", "api-resources", "--no-headers").splitlines()}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_server_takes_every_object(scenario, shared_namespace, known_kinds):
    rendered = template(*values_of(scenario), *what_templates_need(scenario), namespace=shared_namespace.name)
    objects = [each for each in rendered if each["kind"] in known_kinds]
    assert {each["kind"] for each in rendered} - known_kinds <= OTHERS
    given = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    result = run("kubectl", "--namespace", shared_namespace.name, "create", "--dry-run=server", "--filename", "-", given=given)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("created (server dry run)") == len(objects)
    assert "would violate PodSecurity" not in result.stderr
    assert "unknown field" not in result.stderr


def test_the_server_would_tell_of_a_pod_that_is_not_restricted(shared_namespace):
    objects = template(*values_of("minimal"), *what_templates_need("minimal"), namespace=shared_namespace.name)
    deployment = next(each for each in objects if each["kind"] == "Deployment")
    assert pods([deployment])
    deployment["spec"]["template"]["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
    result = run(
        "kubectl", "--namespace", shared_namespace.name, "create", "--dry-run=server", "--filename", "-", given=json.dumps(deployment)
    )
    assert "would violate PodSecurity" in result.stderr
