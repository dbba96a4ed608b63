"""What the notes of a release say: what an uninstall leaves, and what is allowed and yet worth a
word.
"""

from __future__ import annotations

import json
import re

import pytest

from tests.support.helm import (
    SCENARIOS,
    TOKEN,
    container,
    environment,
    pods,
    read_notes,
    select,
    template,
    values_of,
    what_templates_need,
)

PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16")


def read_left(*arguments: str) -> list[str]:
    """Return what the last command of the notes deletes, which is what their sentence says an
    uninstall leaves.
    """
    notes = read_notes(*arguments)
    (command,) = re.findall(r"delete --ignore-not-found (.*)", notes)
    (sentence,) = re.findall(
        r"`helm uninstall` leaves (.*) of a `helm test` that failed,\nand the workspaces of people",
        notes,
    )
    assert sentence.split(", ") == command.split()
    return list(command.split())


@pytest.mark.parametrize(
    ("scenario", "left"),
    [
        ("minimal", ["secret/one-hub", "persistentvolumeclaim/one-hub-db-dir"]),
        ("existing-secrets", []),
        ("postgres", ["secret/one-hub"]),
        ("https-manual", ["secret/one-hub", "persistentvolumeclaim/one-hub-db-dir"]),
        (
            "letsencrypt",
            ["secret/one-hub", "secret/one-proxy-tls", "persistentvolumeclaim/one-hub-db-dir"],
        ),
        (
            "letsencrypt-ingress",
            ["secret/one-hub", "secret/one-proxy-tls", "persistentvolumeclaim/one-hub-db-dir"],
        ),
        ("ingress", ["secret/one-hub", "persistentvolumeclaim/one-hub-db-dir"]),
    ],
)
def test_the_notes_name_what_an_uninstall_leaves(scenario, left):
    assert read_left(*values_of(scenario), *what_templates_need(scenario)) == [
        *left,
        "pod/one-test",
    ]


def test_the_certificates_of_the_ingress_are_named_as_the_site_named_them():
    tls = (
        '[{"hosts":["a.example.org"],"secretName":"a"},'
        '{"hosts":["b.example.org"],"secretName":"b"}]'
    )
    left = read_left(
        *values_of("letsencrypt-ingress"), "--set", TOKEN, "--set-json", f"ingress.tls={tls}"
    )
    assert left == [
        "secret/one-hub",
        "secret/a",
        "secret/b",
        "persistentvolumeclaim/one-hub-db-dir",
        "pod/one-test",
    ]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_of_what_the_chart_makes_the_notes_name_what_helm_keeps_and_nothing_else(scenario):
    arguments = (*values_of(scenario), *what_templates_need(scenario))
    objects = template(*arguments)
    kept = {
        f"{each['kind'].lower()}/{each['metadata']['name']}"
        for each in objects
        if (each["metadata"].get("annotations") or {}).get("helm.sh/resource-policy") == "keep"
    }
    certificates = {
        f"secret/{each['spec']['secretName']}" for each in objects if each["kind"] == "Certificate"
    }
    test = f"pod/{select(objects, 'Pod', '-test')['metadata']['name']}"
    issued = {"secret/one-proxy-tls"} if scenario == "letsencrypt-ingress" else set()
    assert set(read_left(*arguments)) == kept | certificates | issued | {test}


def test_the_notes_lead_to_the_pods_that_there_are():
    notes = read_notes("--set", TOKEN)
    assert (
        set(re.findall(r"deployment/(\S+)", notes))
        == {"one-hub", "one-proxy", "one-bastion"}
        <= set(dict(pods(template("--set", TOKEN))))
    )
    without = read_notes("--set", TOKEN, "--set", "ssh.enabled=false")
    assert set(re.findall(r"deployment/(\S+)", without)) == {"one-hub", "one-proxy"}
    assert environment(container(template("--set", TOKEN), "hub"))["HUB_NAME"] == "one"
    assert notes.count("--selector mlhub.origin=one\n") == 2


@pytest.mark.parametrize(
    ("arguments", "shown", "is_known"),
    [
        (("--set", "proxy.service.type=ClusterIP"), "http://localhost:8080/", True),
        (("--set", "proxy.service.type=NodePort"), "get service one-proxy-public", False),
        (("--set", "proxy.service.type=LoadBalancer"), "get service one-proxy-public", False),
        (("--set", "mlhub.env.MLHUB_HOSTNAMES=hub.example.org"), "http://hub.example.org/", True),
        (values_of("ingress"), "://", True),
    ],
)
def test_the_address_comes_before_the_link_and_the_log_names_only_one_that_is_known(
    arguments, shown, is_known
):
    given = ("--set", TOKEN, *arguments)
    steps = re.split(r"^\d\. ", read_notes(*given), flags=re.MULTILINE)
    assert [step.split()[0] for step in steps[1:]] == ["Wait", "Open", "Become", "See"]
    assert shown in steps[2]
    assert ("behind the address of step 2" in steps[3]) is not is_known
    told = environment(container(template(*given), "hub"))
    assert ("MLHUB_PUBLIC_SERVICE" in told) is not is_known


def test_a_list_that_is_asked_for_and_not_given_is_worth_a_warning():
    asked = ("--set", TOKEN, "--set", "mlhub.env.DYNAMIC_WHITELIST_ENABLED=true")
    assert "there is none" in read_notes(*asked)
    assert "there is none" not in read_notes(*asked, "--set", "mlhub.allowList.names={ann}")
    mount = "hub.extraVolumeMounts[0].mountPath=/resources/users"
    assert "there is none" not in read_notes(
        *asked, "--set", f"{mount},hub.extraVolumeMounts[0].name=x"
    )


# rules of a site's own that open what is shut


def read_warnings(egress: list[dict], *arguments: str) -> str:
    given = ("--set-json", f"singleuser.networkPolicy.egress={json.dumps(egress)}")
    warnings = [
        line
        for line in read_notes("--set", TOKEN, *given, *arguments).splitlines()
        if line.startswith("WARNING: singleuser.")
    ]
    return "\n".join(warnings)


def let_out(cidr: str, *excepted: str) -> list[dict]:
    """Return one rule that lets workspaces reach a range."""
    return [
        {"to": [{"ipBlock": {"cidr": cidr, **({"except": list(excepted)} if excepted else {})}}]}
    ]


@pytest.mark.parametrize(
    ("egress", "private", "metadata"),
    [
        (let_out("0.0.0.0/0"), True, True),
        (let_out("0.0.0.0/0", "169.254.169.254/32"), True, False),  # the original's default
        (let_out("0.0.0.0/0", *PRIVATE[:4]), True, True),
        (let_out("0.0.0.0/0", *PRIVATE), False, False),
        (let_out("0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1"), False, False),
        (let_out("10.20.0.0/16"), True, False),
        (let_out("10.20.0.0/16", "10.20.30.0/24"), True, False),
        (let_out("10.0.0.0/7", "10.0.0.0/8"), False, False),
        (let_out("172.32.0.0/16"), False, False),
        (let_out("172.31.255.0/24"), True, False),
        (let_out("169.254.169.254/32"), True, True),
        (let_out("203.0.113.0/24"), False, False),
        (let_out("::/0"), True, False),
        (let_out("2001:db8::/32"), False, False),
        ([{}], True, True),
        ([{"ports": [{"port": 443}]}], True, True),
        ([{"to": [{"podSelector": {}}]}], False, False),
        ([], False, False),
    ],
)
def test_a_rule_that_lets_into_what_is_private_is_worth_a_warning(egress, private, metadata):
    warnings = read_warnings(egress)
    assert ("lets workspaces into private networks" in warnings) is private
    assert ("lets workspaces reach the cloud's metadata address" in warnings) is metadata
    for rule in egress:
        for peer in rule.get("to", ()) if private else ():
            assert f"({peer['ipBlock']['cidr']})" in warnings


def test_the_warning_follows_the_metadata_address_and_what_is_opened_on_purpose():
    there = ("--set", "singleuser.cloudMetadata.ip=203.0.113.1")
    assert "Name 203.0.113.1/32 in the rule's `except`." in read_warnings(
        let_out("203.0.113.0/24"), *there
    )
    opened = read_warnings(
        let_out("203.0.113.0/24"), *there, "--set", "singleuser.cloudMetadata.enabled=true"
    )
    assert opened.startswith("WARNING: singleuser.cloudMetadata.enabled=true")
    assert "\n" not in opened


def test_without_rules_of_a_sites_own_there_is_nothing_to_warn_of():
    assert "WARNING: singleuser." not in read_notes("--set", TOKEN)
    assert "WARNING: singleuser.networkPolicy.enabled=false" in read_notes(
        "--set", TOKEN, "--set", "singleuser.networkPolicy.enabled=false"
    )


def test_all_is_worth_a_warning_and_a_range_is_what_was_meant():
    assert "WARNING: mlhub.workspaceEgress=all: workspaces reach private networks" in read_notes(
        "--set", TOKEN, "--set", "mlhub.workspaceEgress=all"
    )
    assert "workspaceEgress" not in read_notes(
        "--set", TOKEN, "--set", "mlhub.workspaceEgress=internet\\,10.20.0.0/16"
    )
