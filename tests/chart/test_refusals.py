"""Values that are misspelt or contradict each other are refused, in words that say what to do."""

from __future__ import annotations

import json

import pytest

from tests.chart.helm import CHART, KUBERNETES, TOKEN, refusal, run, template


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ("hubb.uid=1", "additional properties 'hubb' not allowed"),
        ("mlhub.baseurl=/x", "at '/mlhub': additional properties 'baseurl' not allowed"),
        ("proxy.https.letsencrypt.contactEmail=a@b", "at '/proxy/https/letsencrypt': additional properties 'contactEmail' not allowed"),
        ("singleuser.storage.size=1Gi", "at '/singleuser/storage': additional properties 'size' not allowed"),
        ("policy.everyone.cpu_limt.max=1", "at '/policy/everyone': additional properties 'cpu_limt' not allowed"),
        ("proxy.https.type=acme", "at '/proxy/https/type': value must be one of 'manual', 'secret', 'letsencrypt', 'offload'"),
        ("hub.db.type=oracle", "at '/hub/db/type': value must be one of"),
        ("ssh.service.port=70000", "at '/ssh/service/port': maximum: got 70,000, want 65,535"),
        ("fullnameOverride=My_Hub", "at '/fullnameOverride': 'My_Hub' does not match pattern"),
        ("singleuser.memory.limit=lots", "at '/singleuser/memory/limit': 'lots' does not match pattern"),
        ("proxy.trustedProxies={everybody}", "at '/proxy/trustedProxies/0': 'everybody' does not match pattern"),
        ("mlhub.debug=yes-please", "at '/mlhub/debug': got string, want boolean"),
    ],
)
def test_a_misspelt_or_impossible_value_is_named(values, words):
    assert words in refusal("--set", values)


@pytest.mark.parametrize(
    ("values", "keys"),
    [
        ("hubb.uid=1", ("mlhub", "hub", "proxy", "singleuser", "userConfig")),
        ("proxy.chp.image.version=3", ("name", "tag", "pullPolicy")),
        ("policy.everyone.cpu_limt.max=1", ("cpu_limit", "mem_limit", "images")),
    ],
)
def test_whoever_misspells_a_key_is_told_which_ones_there_are(values, keys):
    (line,) = [line for line in refusal("--set", values).splitlines() if "value must be one of" in line]
    assert {f"'{key}'" for key in keys} <= set(line.partition("one of ")[2].split(", "))


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (["hub.uid=0"], "Nothing of this chart runs as root. Remove them: both are 1000."),
        (["hub.deploymentStrategy.type=RollingUpdate"], "would run two hubs on one database"),
        (["mlhub.secretToken=short"], "mlhub.secretToken has 5 characters, which can be guessed. Set the output of: openssl rand -hex 32"),
        (["mlhub.existingSecret=x"], "mlhub.secretToken and mlhub.existingSecret are both set. Keep one"),
        (["mlhub.env.HUB_NAME=x"], "mlhub.env.HUB_NAME is decided by the chart. Remove it; the value for it is: fullnameOverride."),
        (["hub.extraEnv.START_SSH=false"], "hub.extraEnv.START_SSH is decided by the chart. Remove it; the value for it is: ssh.enabled."),
        (["proxy.extraEnv.ADDITIONAL_ARGS=x"], "the value for it is: proxy.chp.extraArgs."),
        (["mlhub.env.SSL_ENABLED=maybe"], "mlhub.env.SSL_ENABLED=maybe is neither true nor false."),
        (["proxy.extraEnv.SSL_ENABLED=true"], "proxy.extraEnv.SSL_ENABLED decides what is deployed"),
        (["mlhub.env.SSL_ENABLED=true", "proxy.https.enabled=false"], "contradict each other. Keep one of them."),
        (["hub.db.type=postgres"], "hub.db.type=postgres needs an address. Set hub.db.url (postgresql://user@host/database)"),
        (["hub.db.url=postgresql://db/x"], "hub.db.type=sqlite-pvc is a file of the hub's. Set hub.db.type to postgres or mysql."),
        (["hub.db.type=mysql", "hub.db.url=postgresql://db/x"], 'it begins with "postgresql". Write mysql://user@host/database.'),
        (["hub.db.type=postgres", "hub.db.url=postgresql://db/x", "hub.db.existingSecret=x"], "are both set. Keep one"),
        (["hub.db.type=postgres", "hub.db.url=postgresql://db/x"], "Set mlhub.existingSecret"),
        (["metrics.enabled=true"], "metrics.enabled needs a token"),
        (["proxy.https.manual.cert=x"], "proxy.https.manual needs both key and cert."),
        (["proxy.https.manual.cert=x", "proxy.https.manual.key=x"], "but HTTPS is off. Set mlhub.env.SSL_ENABLED=true"),
        (
            ["hub.db.type=sqlite-memory", "hub.db.pvc.existingClaim=mine"],
            "hub.db.pvc.existingClaim=mine is for a file of the hub's, but with hub.db.type=sqlite-memory there is none. Remove it",
        ),
        (
            ["hub.db.type=postgres", "hub.db.url=postgresql://db/x", "hub.db.pvc.existingClaim=mine"],
            "but with hub.db.type=postgres there is none. Remove it, or set hub.db.type=sqlite-pvc.",
        ),
        (
            ["proxy.https.enabled=true", "proxy.https.secret.name=mine"],
            "proxy.https.secret.name=mine has a certificate, but proxy.https.type=manual does not use it. Set proxy.https.type=secret",
        ),
        (
            ["proxy.https.type=secret", "proxy.https.secret.name=mine"],
            "but HTTPS is off. Set mlhub.env.SSL_ENABLED=true, or remove the name.",
        ),
        (
            ["ingress.tls[0].secretName=mine"],
            "ingress.tls is set, but ingress.enabled=false. Set ingress.enabled=true, or remove ingress.tls",
        ),
        (
            ["singleuser.networkPolicy.internet=false", "singleuser.networkPolicy.internetExcept={203.0.113.0/24}"],
            "Set singleuser.networkPolicy.internet=true, or remove internetExcept.",
        ),
        (["proxy.https.enabled=true", "proxy.https.type=secret"], "proxy.https.type=secret needs proxy.https.secret.name"),
        (["proxy.https.enabled=true", "proxy.https.type=letsencrypt"], "Set proxy.https.letsencrypt.issuerRef.name"),
        (
            ["proxy.https.enabled=true", "proxy.https.type=letsencrypt", "proxy.https.letsencrypt.issuerRef.name=x"],
            "needs a name to ask a certificate for. Set proxy.https.hosts.",
        ),
        (["ssh.enabled=false", "ssh.service.enabled=true"], "but ssh.enabled=false. Remove one of them."),
        (["ingress.enabled=true", "proxy.https.enabled=true"], "would be redirected for ever"),
        (["gateway.enabled=true"], "gateway.enabled=true needs gateway.parentRefs"),
        (["gateway.enabled=true", "gateway.parentRefs[0].name=x", "proxy.https.enabled=true"], "Let TLS end at the Gateway"),
        (["gateway.enabled=true", "gateway.parentRefs[0].name=x", "gateway.httpRoute.enabled=false"], "are all off"),
    ],
)
def test_contradictions_are_refused_with_the_cure(values, sentence):
    assert sentence in refusal(*(word for value in values for word in ("--set", value)))


def test_what_is_refused_only_in_company_is_fine_alone():
    template("--set", TOKEN, "--set", "mlhub.env.SSL_ENABLED=true", "--set", "proxy.https.enabled=true")
    template("--set", TOKEN, "--set", "ingress.enabled=true")
    template("--set", TOKEN, "--set", "ingress.enabled=true", "--set", "ingress.tls[0].secretName=mine")
    template("--set", TOKEN, "--set", "hub.db.pvc.existingClaim=mine")
    secret = ("proxy.https.enabled=true", "proxy.https.type=secret", "proxy.https.secret.name=mine")
    template("--set", TOKEN, *(word for value in secret for word in ("--set", value)))
    template("--set", TOKEN, "--set", "singleuser.networkPolicy.internetExcept={203.0.113.0/24}")
    annotations = json.dumps({"nginx.ingress.kubernetes.io/backend-protocol": "HTTPS"})
    template(
        "--set",
        TOKEN,
        "--set",
        "ingress.enabled=true",
        "--set",
        "proxy.https.enabled=true",
        "--set-json",
        f"ingress.annotations={annotations}",
    )


def test_rendering_without_a_cluster_asks_for_a_secret_of_the_sites():
    result = run("helm", "template", "one", CHART, *KUBERNETES)
    assert result.returncode != 0
    assert "Set mlhub.secretToken (openssl rand -hex 32), or mlhub.existingSecret" in result.stderr
    template("--set", "mlhub.existingSecret=given")
