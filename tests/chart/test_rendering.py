"""Every scenario of helmchart/mlhub/ci, rendered and read back."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path

import pytest
import yaml

from tests.support.helm import (
    CHART,
    SCENARIOS,
    TOKEN,
    container,
    containers,
    environment,
    pods,
    read_config,
    run,
    select,
    template,
    values_of,
    what_templates_need,
)

CLUSTER_KINDS = {
    "ClusterRole",
    "ClusterRoleBinding",
    "PriorityClass",
    "CustomResourceDefinition",
    "Namespace",
}


@pytest.fixture(params=SCENARIOS)
def scenario(request):
    """Return the name of each scenario."""
    return request.param


@pytest.fixture
def objects(scenario):
    """Return what each scenario renders to."""
    return template(*values_of(scenario), *what_templates_need(scenario))


def test_lint_has_nothing_to_say(scenario):
    result = run(
        "helm",
        "lint",
        CHART,
        "--strict",
        *values_of(scenario),
        *what_templates_need(scenario),
    )
    assert result.returncode == 0, result.stdout
    assert "[WARNING]" not in result.stdout
    assert "[ERROR]" not in result.stdout


def test_no_object_has_the_name_of_another(objects):
    names = [(each["kind"], each["metadata"]["name"]) for each in objects]
    assert len(names) == len(set(names))


def test_every_pod_is_restricted_and_writes_to_volumes_alone(objects):
    for name, spec in pods(objects):
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["enableServiceLinks"] is False, name
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not any(
            spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace")
        )
        assert not any("hostPath" in volume for volume in spec.get("volumes", ()))
    ours = [each for each in containers(objects) if each["name"] in ("hub", "ssh", "proxy", "test")]
    assert len(ours) >= 3
    for each in ours:
        context = each["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert context["runAsUser"] > 0
        assert not context.get("privileged")
        assert {"cpu", "memory"} & set(
            each["resources"].get("requests", each["resources"].get("limits"))
        )


def test_only_the_hubs_own_container_holds_a_token_of_the_cluster(objects):
    holders = [
        each["name"]
        for each in containers(objects)
        if any("serviceaccount" in mount["mountPath"] for mount in each.get("volumeMounts", ()))
    ]
    assert holders == ["hub"]


def test_bastion_and_proxy_know_no_secret_but_their_own_tokens(objects):
    for each in containers(objects):
        if each["name"] == "ssh":
            assert {mount["mountPath"] for mount in each["volumeMounts"]} <= {
                "/run/mlhub",
                "/tmp",
                "/etc/mlhub/ssh",
            }
            secrets = [
                name for name, value in environment(each).items() if not isinstance(value, str)
            ]
            assert secrets == ["MLHUB_BASTION_TOKEN"]
            given = [
                volume["secret"]["items"]
                for volume in dict(pods(objects))[find_bastion(objects)]["volumes"]
                if "secret" in volume
            ]
            assert given in ([], [[{"key": "ssh.hostKey", "path": "host_key"}]])
        if each["name"] == "proxy":
            secrets = [
                name for name, value in environment(each).items() if not isinstance(value, str)
            ]
            assert secrets == ["CONFIGPROXY_AUTH_TOKEN"]


def find_bastion(objects: list[dict]) -> str:
    return next(
        name
        for name, spec in pods(objects)
        if [each["name"] for each in spec["containers"]] == ["ssh"]
    )


def test_the_hub_knows_its_bastion_by_the_token_of_the_same_secret(objects):
    tokens = {
        each["name"]: environment(each).get("MLHUB_BASTION_TOKEN")
        for each in containers(objects)
        if each["name"] in ("hub", "ssh")
    }
    assert tokens["hub"] == tokens.get("ssh")
    if "ssh" in tokens:
        assert tokens["hub"]["secretKeyRef"]["key"] == "ssh.token"


def test_variables_stand_once(objects):
    for each in containers(objects):
        if "env" in each and each["name"] != "beside":
            environment(each)


@pytest.mark.parametrize(
    "scenario", ["https-manual", "original", "postgres", "site"], indirect=True
)
def test_no_secret_is_in_a_configmap(scenario):
    given = ["--set", "mlhub.existingSecret=given"] if scenario == "site" else []
    objects = template(
        *values_of(scenario),
        *(given or what_templates_need(scenario)),
        "--set",
        "userConfig=c.X.client_secret='s3cr3t-of-idp'",
    )
    secrets = [
        "0123456789abcdef",
        "c2VjcmV0",
        "secret-token",
        "let-me-pull",
        "not-a-secret-here",
        "PRIVATE KEY",
        "s3cr3t-of-idp",
    ]
    text = json.dumps([each for each in objects if each["kind"] == "ConfigMap"])
    assert text.count("ConfigMap") >= 2
    for secret in secrets:
        assert secret not in text
    # The twin: the user's file is there, in a Secret.
    assert b"s3cr3t-of-idp" in base64.b64decode(
        select(objects, "Secret", "-user-config")["data"]["jupyterhub_user_config.py"]
    )


def test_several_releases_share_a_namespace(scenario):
    given = [*values_of(scenario), *what_templates_need(scenario)]
    one, two = (
        template(*given, "--set", f"fullnameOverride={name}", release=name)
        for name in ("red", "blue")
    )
    names = [
        {(each["kind"], each["metadata"]["name"]) for each in objects} for objects in (one, two)
    ]
    assert not names[0] & names[1]
    selectors = [
        json.dumps(each["spec"].get("selector") or each["spec"].get("podSelector"), sort_keys=True)
        for objects in (one, two)
        for each in objects
        if each["kind"] in ("Service", "NetworkPolicy", "Deployment")
    ]
    assert all(("red" in selector) != ("blue" in selector) for selector in selectors)


def test_releases_of_the_same_name_in_two_namespaces_share_nothing_of_the_cluster():
    roles = [
        {
            each["metadata"]["name"]
            for each in template(
                "--set", TOKEN, "--set", "scheduling.podPriority.enabled=true", namespace=name
            )
            if each["kind"] in CLUSTER_KINDS
        }
        for name in ("red", "blue")
    ]
    assert len(roles[0]) == len(roles[1]) == 3
    assert not roles[0] & roles[1]


@pytest.mark.parametrize("scenario", ["second-release", "hardened"], indirect=True)
def test_without_node_sizes_nothing_belongs_to_the_whole_cluster(objects):
    assert not {each["kind"] for each in objects} & CLUSTER_KINDS
    # The twin: it is that value which decides.
    assert {each["kind"] for each in template("--set", TOKEN)} & CLUSTER_KINDS == {
        "ClusterRole",
        "ClusterRoleBinding",
    }


# What mlhub/backends/kubernetes calls: its Api, the watch of pods, the watch of events.
RIGHTS = {
    "pods": {"get", "list", "watch", "create", "patch", "delete"},
    "pods/log": {"get"},
    "events": {"list", "watch"},
    "persistentvolumeclaims": {"get", "list", "create", "patch", "delete"},
    "services": {"get", "list", "create", "delete"},
    "networking.k8s.io/networkpolicies": {"get", "list", "create", "delete"},
}


def read_rights(role: dict) -> dict[str, set[str]]:
    """Return what a role grants: resource → verbs."""
    rights: dict[str, set[str]] = {}
    for rule in role["rules"]:
        assert set(rule) == {"apiGroups", "resources", "verbs"}
        for name in (
            f"{group}/{resource}".lstrip("/")
            for group in rule["apiGroups"]
            for resource in rule["resources"]
        ):
            rights.setdefault(name, set()).update(rule["verbs"])
    return rights


def test_the_hub_gets_the_rights_it_needs_and_no_more():
    objects = template("--set", TOKEN)
    assert read_rights(select(objects, "Role")) == RIGHTS
    assert read_rights(select(objects, "ClusterRole")) == {"nodes": {"list"}}
    with_ssl = template("--set", TOKEN, "--set", "rbac.internalSsl=true")
    assert read_rights(select(with_ssl, "Role")) == {**RIGHTS, "secrets": {"create", "delete"}}


@pytest.mark.parametrize(
    ("release", "expected"),
    [
        ("mlhub", "mlhub"),
        ("mlhub.prod", "mlhub-prod-"),
        ("2026-course", "hub-2026-course-"),
        ("a" * 53, "a" * 31 + "-"),
    ],
)
def test_every_release_name_becomes_a_name_that_a_service_may_have(release, expected):
    name = environment(container(template("--set", TOKEN, release=release), "hub"))["HUB_NAME"]
    assert name.startswith(expected)
    assert len(name) <= 40
    assert name == expected or len(name) > len(expected)
    service = select(template("--set", TOKEN, release=release), "Service", f"{name}")
    assert service["spec"]["ports"][0] == {"name": "hub", "port": 8081, "targetPort": "hub"}


def test_two_releases_that_differ_in_a_dot_do_not_meet():
    names = {
        environment(container(template("--set", TOKEN, release=release), "hub"))["HUB_NAME"]
        for release in ("a.b", "a-b")
    }
    assert len(names) == 2


# what starts which pod anew


def read_annotations(*arguments: str) -> tuple[dict, dict]:
    objects = template("--set", TOKEN, *arguments)
    hub, proxy = (
        select(objects, "Deployment", name)["spec"]["template"] for name in ("-hub", "-proxy")
    )
    return hub, proxy


@pytest.mark.parametrize(
    "change",
    [
        "custom.team=vision",
        "userConfig=c.Spawner.cpu_limit=1",
        "singleuser.cpu.limit=2",
        "mlhub.env.FOO=bar",
        "hub.image.tag=3.1.0",
        "singleuser.storage.capacity=1Gi",
        "hub.extraEnv.FOO=bar",
    ],
)
def test_a_change_of_the_hubs_configuration_starts_the_hub_anew_and_not_the_proxy(change):
    hub, proxy = read_annotations()
    changed_hub, changed_proxy = read_annotations("--set-string", change)
    assert changed_hub != hub
    assert changed_proxy == proxy


def test_host_names_per_person_are_told_to_hub_and_proxy_alike():
    objects = template(
        "--set", TOKEN, "--set", "mlhub.env.MLHUB_SUBDOMAIN_HOST=https://hub.example.org"
    )
    for name in ("hub", "proxy"):
        assert (
            environment(container(objects, name))["MLHUB_SUBDOMAIN_HOST"]
            == "https://hub.example.org"
        ), name


def test_the_pace_of_sign_ins_is_told_to_the_proxy_also_where_there_is_none():
    objects = template("--set", TOKEN, "--set", "mlhub.env.MLHUB_SIGN_INS_PER_SECOND=0")
    assert environment(container(objects, "proxy"))["MLHUB_SIGN_INS_PER_SECOND"] == "0"


def test_a_changed_policy_starts_nothing_anew():
    assert read_annotations("--set", "policy.everyone.custom_images=false") == read_annotations()


def test_a_new_chart_with_the_images_of_before_starts_nothing_anew(tmp_path):
    newer = Path(shutil.copytree(CHART, tmp_path / "mlhub"))
    about = newer / "Chart.yaml"
    about.write_text(
        about.read_text().replace(yaml.safe_load(about.read_text())["version"], "9.8.7")
    )
    pinned = ("--set", TOKEN, "--set", "hub.image.tag=v1", "--set", "proxy.chp.image.tag=v1")
    before, after = (template(*pinned, chart=chart) for chart in (CHART, newer))
    for name in ("-hub", "-proxy"):
        assert (
            select(after, "Deployment", name)["spec"] == select(before, "Deployment", name)["spec"]
        )
    # The twin: the hub can read the new version, and images that are not pinned are the new ones.
    assert read_config(after)["Chart"] == {"Name": "mlhub-chart", "Version": "9.8.7"}
    assert container(template("--set", TOKEN, chart=newer), "proxy")["image"].endswith(":9.8.7")


def test_another_token_starts_both_anew():
    hub, proxy = read_annotations()
    changed_hub, changed_proxy = read_annotations("--set", f"{TOKEN}0")
    assert changed_hub != hub
    assert changed_proxy != proxy


# the values of the original


def test_the_originals_values_keep_their_meaning():
    objects = template(*values_of("original"))
    hub = select(objects, "Deployment", "-hub")
    own = container(objects, "hub")
    variables = environment(own)
    assert variables["MLHUB_BASE_URL"] == "/mlhub/"
    assert variables["MLHUB_DEBUG"] == "true"
    assert variables["DYNAMIC_WHITELIST_ENABLED"] == "true"
    assert variables["CLEANUP_INTERVAL_SECONDS"] == "1000000"
    assert variables["AAD_TENANT_ID"] == "<azure-tenant-id>"
    assert variables["FOO"] == "BAR"
    assert own["readinessProbe"]["httpGet"]["path"] == "/mlhub/hub/health"
    assert own["securityContext"]["runAsUser"] == 61000
    assert hub["spec"]["strategy"] == {"type": "Recreate"}
    assert hub["spec"]["template"]["metadata"]["labels"]["tier"] == "core"
    assert hub["spec"]["template"]["metadata"]["annotations"]["note"] == "hub"
    assert hub["spec"]["template"]["spec"]["imagePullSecrets"] == [
        {"name": "one-hub-image-credentials"}
    ]
    assert {"name": "data", "mountPath": "/data", "subPath": "mlhub"} in own["volumeMounts"]
    token = select(objects, "Secret", "one-hub")["data"]["proxy.token"]
    assert base64.b64decode(token) == b"c2VjcmV0LXRva2VuLW9mLTMyLWNoYXJhY3RlcnM="
    login = json.loads(
        base64.b64decode(
            select(objects, "Secret", "image-credentials")["data"][".dockerconfigjson"]
        )
    )
    assert login["auths"]["registry.example.org"]["username"] == "puller"
    assert select(objects, "PodDisruptionBudget", "-hub")["spec"]["minAvailable"] == 1
    public = select(objects, "Service", "-proxy-public")
    assert public["spec"]["type"] == "NodePort"
    assert [(port["port"], port["nodePort"]) for port in public["spec"]["ports"]] == [(80, 30180)]
    assert public["metadata"]["labels"]["exposed"] == "true"
    assert {each["metadata"]["name"] for each in objects if each["kind"] == "NetworkPolicy"} == {
        "one-singleuser",
        "one-bastion",
    }
    assert read_config(objects)["custom"] == {"team": "vision"}
    assert select(objects, "PersistentVolumeClaim")["metadata"]["name"] == "one-hub-db-dir"
    # Variables of the hub, secrets perhaps, are none of the proxy's business.
    assert "AAD_TENANT_ID" not in environment(container(objects, "proxy"))


def test_nothing_asks_for_the_originals_privileged_container():
    assert "k8s-network-tools" not in json.dumps(pods(template(*values_of("original"))))


def test_a_drain_is_not_blocked_by_default():
    for name in ("-hub", "-proxy"):
        assert (
            select(template("--set", TOKEN), "PodDisruptionBudget", name)["spec"]["maxUnavailable"]
            == 1
        )
