"""The cluster's own API takes every object of every scenario, in a namespace that enforces
`restricted`.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.support.definitions import NAMES, defined
from tests.support.helm import (
    CHART,
    SCENARIOS,
    Objects,
    pods,
    run,
    select,
    succeed,
    template,
    values_of,
    what_templates_need,
)

GATEWAY = "gateway.networking.k8s.io"


@pytest.fixture(scope="module")
def routes(wait_for) -> Iterator[dict[str, str]]:
    """Have cert-manager's, the Gateway API's and Prometheus's kinds in the cluster; return kind →
    version of its routes.
    """
    with defined(wait_for, *NAMES):
        lines = succeed(
            "kubectl", "api-resources", "--api-group", GATEWAY, "--no-headers"
        ).splitlines()
        yield {line.split()[-1]: line.split()[-3] for line in lines}


def say_versions(routes: dict[str, str]) -> list[str]:
    """Return what `helm template`, which sees no cluster, must be told of it."""
    return [
        word
        for kind, version in sorted(routes.items())
        for word in ("--api-versions", f"{version}/{kind}")
    ]


def try_to_create(namespace: str, *objects: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    """Have the server judge objects as if they were created."""
    given = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    words = ("create", "--dry-run=server", "--validate=strict", "--filename", "-")
    return run("kubectl", "--namespace", namespace, *words, given=given)


def render(scenario: str, namespace: str, *arguments: str) -> Objects:
    """Render a scenario for a namespace."""
    return template(
        *values_of(scenario), *what_templates_need(scenario), *arguments, namespace=namespace
    )


# One of each kind of object; the long tier asks all.
VARIED = ("bare", "gateway", "hardened", "letsencrypt-ingress", "original-full", "site")


@pytest.mark.parametrize(
    "scenario",
    [pytest.param(each, marks=[] if each in VARIED else pytest.mark.full) for each in SCENARIOS],
)
def test_the_server_takes_every_object(scenario, shared_namespace, routes):
    objects = render(scenario, shared_namespace.name, *say_versions(routes))
    result = try_to_create(shared_namespace.name, *objects)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("created (server dry run)") == len(objects)
    assert "would violate PodSecurity" not in result.stderr
    assert "deprecated" not in result.stderr


def test_the_scenarios_have_every_kind_of_other_projects(shared_namespace, routes):
    rendered = {
        each["kind"]
        for scenario in SCENARIOS
        for each in render(scenario, shared_namespace.name, *say_versions(routes))
    }
    assert rendered >= set(NAMES)


@pytest.mark.parametrize(
    ("scenario", "kind"), [("gateway", "TCPRoute"), ("gateway-tls", "TLSRoute")]
)
def test_a_cluster_with_an_older_gateway_api_takes_the_version_that_it_has(
    scenario, kind, shared_namespace, routes
):
    route = select(render(scenario, shared_namespace.name), kind)
    assert route["apiVersion"] == f"{GATEWAY}/v1alpha2"
    definition = json.loads(
        succeed("kubectl", "get", "customresourcedefinition", NAMES[kind], "--output", "json")
    )
    if "v1alpha2" not in {
        each["name"] for each in definition["spec"]["versions"] if each["served"]
    }:
        pytest.skip(
            f"the cluster has a definition of {kind} of its own, which does not serve v1alpha2"
        )
    result = try_to_create(shared_namespace.name, route)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("scenario", ["gateway", "gateway-tls"])
def test_a_release_has_v1_of_the_routes_of_which_the_cluster_has_it(scenario, namespace, routes):
    made = json.loads(
        namespace.helm(
            "install",
            "one",
            str(CHART),
            *values_of(scenario),
            "--dry-run=server",
            "--output",
            "json",
        )
    )
    objects = [each for each in yaml.load_all(made["manifest"], yaml.CSafeLoader) if each]
    versions = {each["kind"]: each["apiVersion"] for each in objects if each["kind"] in routes}
    assert versions
    assert versions == {
        kind: f"{GATEWAY}/v1" if routes[kind] == f"{GATEWAY}/v1" else f"{GATEWAY}/v1alpha2"
        for kind in versions
    }


def test_the_server_would_tell_of_a_pod_that_is_not_restricted(shared_namespace):
    objects = render("minimal", shared_namespace.name)
    deployment = next(each for each in objects if each["kind"] == "Deployment")
    assert pods([deployment])
    deployment["spec"]["template"]["spec"]["containers"][0]["securityContext"][
        "allowPrivilegeEscalation"
    ] = True
    assert "would violate PodSecurity" in try_to_create(shared_namespace.name, deployment).stderr


@pytest.mark.parametrize(
    ("scenario", "kind", "path"),
    [
        ("letsencrypt", "Certificate", "spec.dnsNames"),
        ("letsencrypt", "Certificate", "spec.issuerRef.kind"),
        ("gateway", "HTTPRoute", "spec.rules.0.timeouts.request"),
        ("gateway", "TCPRoute", "spec.rules.0.backendRefs.0.port"),
        ("gateway-tls", "TLSRoute", "spec.parentRefs"),
        ("site", "ServiceMonitor", "spec.endpoints.0.authorization.credentials.key"),
        ("minimal", "Service", "spec.ports.0.targetPort"),
    ],
)
def test_the_server_would_tell_of_a_wrong_field(scenario, kind, path, shared_namespace, routes):
    rendered = render(scenario, shared_namespace.name, *say_versions(routes))
    proper = next(each for each in rendered if each["kind"] == kind)
    misspelled = json.loads(json.dumps(proper))
    *steps, last = path.split(".")
    inside: Any = misspelled
    for step in steps:
        inside = inside[int(step) if step.isdigit() else step]
    inside[f"{last}z"] = inside.pop(last)
    assert try_to_create(shared_namespace.name, proper).returncode == 0
    result = try_to_create(shared_namespace.name, misspelled)
    assert result.returncode != 0
    assert f'{last}z"' in result.stderr
    assert "unknown field" in result.stderr
