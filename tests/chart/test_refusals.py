"""Values that are misspelled or contradict each other are refused, in words that say what to do."""

from __future__ import annotations

import json

import pytest

from tests.support.chart_files import FOREIGN_KEYS
from tests.support.helm import CHART, TOKEN, refusal, run, template

PEM = "-----BEGIN CERTIFICATE-----"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ("hubb.uid=1", "additional properties 'hubb' not allowed"),
        ("mlhub.baseurl=/x", "at '/mlhub': additional properties 'baseurl' not allowed"),
        (
            "proxy.https.letsencrypt.email=a@b",
            "at '/proxy/https/letsencrypt': additional properties 'email' not allowed",
        ),
        (
            "singleuser.storage.size=1Gi",
            "at '/singleuser/storage': additional properties 'size' not allowed",
        ),
        (
            "policy.everyone.cpu_limt.max=1",
            "at '/policy/everyone': additional properties 'cpu_limt' not allowed",
        ),
        (
            "proxy.https.type=acme",
            (
                "at '/proxy/https/type': value must be one of 'manual', 'secret', 'letsencrypt',"
                " 'offload'"
            ),
        ),
        ("hub.db.type=oracle", "at '/hub/db/type': value must be one of"),
        ("ssh.service.port=70000", "at '/ssh/service/port': maximum: got 70,000, want 65,535"),
        ("fullnameOverride=My_Hub", "at '/fullnameOverride': 'My_Hub' does not match pattern"),
        (
            "singleuser.memory.limit=lots",
            "at '/singleuser/memory/limit': 'lots' does not match pattern",
        ),
        (
            "proxy.trustedProxies={everybody}",
            "at '/proxy/trustedProxies/0': 'everybody' does not match pattern",
        ),
        ("mlhub.debug=yes-please", "at '/mlhub/debug': got string, want boolean"),
    ],
)
def test_a_misspelled_or_impossible_value_is_named(values, words):
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
    (line,) = [
        line for line in refusal("--set", values).splitlines() if "value must be one of" in line
    ]
    assert {f"'{key}'" for key in keys} <= set(line.partition("one of ")[2].split(", "))


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (["hub.uid=0"], "Nothing of this chart runs as root. Remove them: both are 61000."),
        (["hub.deploymentStrategy.type=RollingUpdate"], "would run two hubs on one database"),
        (
            ["mlhub.secretToken=short"],
            (
                "mlhub.secretToken has 5 characters, which can be guessed. Set the output of:"
                " openssl rand -hex 32"
            ),
        ),
        (
            ["mlhub.existingSecret=x"],
            "mlhub.secretToken and mlhub.existingSecret are both set. Keep one",
        ),
        (
            ["mlhub.env.HUB_NAME=x"],
            (
                "mlhub.env.HUB_NAME is decided by the chart. Remove it; the value for it is:"
                " fullnameOverride."
            ),
        ),
        (
            ["hub.extraEnv.START_SSH=false"],
            (
                "hub.extraEnv.START_SSH is decided by the chart. Remove it; the value for it is:"
                " ssh.enabled."
            ),
        ),
        (["proxy.extraEnv.ADDITIONAL_ARGS=x"], "the value for it is: proxy.chp.extraArgs."),
        (["proxy.extraEnv.MLHUB_ROUTER=true"], "the value for it is: proxy.chp.enabled."),
        (
            ["proxy.chp.enabled=false", "proxy.chp.extraArgs={--timeout=1}"],
            "which proxy.chp.enabled=false leaves out. Remove one of the two.",
        ),
        (["mlhub.env.SSL_ENABLED=maybe"], "mlhub.env.SSL_ENABLED=maybe is neither true nor false."),
        (
            ["proxy.extraEnv.SSL_ENABLED=true"],
            "proxy.extraEnv.SSL_ENABLED decides what is deployed",
        ),
        (
            ["mlhub.env.SSL_ENABLED=true", "proxy.https.enabled=false"],
            "contradict each other. Keep one of them.",
        ),
        (
            ["hub.db.type=postgres"],
            (
                "hub.db.type=postgres needs an address. Set hub.db.url"
                " (postgresql://user@host/database)"
            ),
        ),
        (
            ["hub.db.url=postgresql://db/x"],
            "hub.db.type=sqlite-pvc is a file of the hub's. Set hub.db.type to postgres or mysql.",
        ),
        (
            ["hub.db.type=mysql", "hub.db.url=postgresql://db/x"],
            'it begins with "postgresql". Write mysql://user@host/database.',
        ),
        (
            ["hub.db.type=postgres", "hub.db.url=postgresql://db/x", "hub.db.existingSecret=x"],
            "are both set. Keep one",
        ),
        (["hub.db.type=postgres", "hub.db.url=postgresql://db/x"], "Set mlhub.existingSecret"),
        (["metrics.enabled=true"], "metrics.enabled needs a token"),
        (["proxy.https.manual.cert=x"], "proxy.https.manual needs both key and cert."),
        (
            ["proxy.https.manual.cert=x", "proxy.https.manual.key=x"],
            "but HTTPS is off. Set mlhub.env.SSL_ENABLED=true",
        ),
        (
            ["hub.db.type=sqlite-memory", "hub.db.pvc.existingClaim=mine"],
            (
                "hub.db.pvc.existingClaim=mine is for a file of the hub's, but with"
                " hub.db.type=sqlite-memory there is none. Remove it"
            ),
        ),
        (
            [
                "hub.db.type=postgres",
                "hub.db.url=postgresql://db/x",
                "hub.db.pvc.existingClaim=mine",
            ],
            (
                "but with hub.db.type=postgres there is none. Remove it, or set"
                " hub.db.type=sqlite-pvc."
            ),
        ),
        (
            ["proxy.https.enabled=true", "proxy.https.secret.name=mine"],
            (
                "proxy.https.secret.name=mine has a certificate, but proxy.https.type=manual does"
                " not use it. Set proxy.https.type=secret"
            ),
        ),
        (
            ["proxy.https.enabled=true", "proxy.https.secret.passphrase=word"],
            "proxy.https.secret.passphrase=word is a key of the Secret that has the certificate",
        ),
        (
            ["proxy.https.type=secret", "proxy.https.secret.name=mine"],
            "but HTTPS is off. Set mlhub.env.SSL_ENABLED=true, or remove the name.",
        ),
        (
            ["ingress.tls[0].secretName=mine"],
            (
                "ingress.tls is set, but ingress.enabled=false. Set ingress.enabled=true, or remove"
                " ingress.tls"
            ),
        ),
        (
            [
                "mlhub.workspaceEgress=none",
                "singleuser.networkPolicy.internetExcept={203.0.113.0/24}",
            ],
            "Add internet to mlhub.workspaceEgress, or remove internetExcept.",
        ),
        (
            ["mlhub.workspaceEgress=none", "singleuser.networkPolicy.enabled=false"],
            "cannot hold with singleuser.networkPolicy.enabled=false",
        ),
        (
            ["mlhub.workspaceEgress=all\\,10.20.0.0/16"],
            '"all" beside 10.20.0.0/16, but "all" stands alone. Write e.g. internet',
        ),
        (
            ["mlhub.workspaceEgress=internet\\,none"],
            '"none" beside internet, but "none" stands alone.',
        ),
        (["mlhub.workspaceEgress=\\,"], "names nothing. Write e.g. internet"),
        (
            ["mlhub.workspaceEgress=intranet"],
            'the entry "intranet", which is neither a word that is known nor an address or range.',
        ),
        (["mlhub.workspaceEgress=10.20.0.0/33"], 'the entry "10.20.0.0/33"'),
        (["mlhub.workspaceEgress=10.20.0.256"], 'the entry "10.20.0.256"'),
        (["mlhub.workspaceEgress=10.20.0.0/16/8"], 'the entry "10.20.0.0/16/8"'),
        (["mlhub.workspaceEgress=db.example.org"], 'the entry "db.example.org"'),
        (["mlhub.workspaceEgress=fd12::/129"], 'the entry "fd12::/129"'),
        (["mlhub.workspaceEgress=internet\\,10.20.3.4/16"], "its address goes on behind /16"),
        (["mlhub.workspaceEgress=0.0.0.0/0"], "which is every address. Write all."),
        (["mlhub.workspaceEgress=169.254.169.254"], "singleuser.cloudMetadata.enabled"),
        (["mlhub.workspaceEgress=internet\\,168.63.129.16/32"], "singleuser.cloudMetadata.enabled"),
        (["mlhub.workspaceEgress=fe80::/64"], "singleuser.cloudMetadata.enabled"),
        (["mlhub.env.MLHUB_WORKSPACE_EGRESS=none"], "the value for it is: mlhub.workspaceEgress."),
        (["mlhub.env.MLHUB_CULL_ENABLED=true"], "the value for it is: cull.enabled."),
        (["cull.timeout=5"], "cull"),
        (
            ["proxy.https.enabled=true", "proxy.https.type=secret"],
            "proxy.https.type=secret needs proxy.https.secret.name",
        ),
        (
            ["proxy.https.enabled=true", "proxy.https.type=letsencrypt"],
            "Set proxy.https.letsencrypt.issuerRef.name",
        ),
        (
            [
                "proxy.https.enabled=true",
                "proxy.https.type=letsencrypt",
                "proxy.https.letsencrypt.issuerRef.name=x",
            ],
            "needs a name to ask a certificate for. Set proxy.https.hosts.",
        ),
        (
            ["ssh.enabled=false", "ssh.service.enabled=true"],
            "but ssh.enabled=false. Remove one of them.",
        ),
        (["ingress.enabled=true", "proxy.https.enabled=true"], "would be redirected for ever"),
        (
            ["mlhub.allowList.names={ann}", "mlhub.allowList.existingConfigMap=mine"],
            "are both set. Keep one.",
        ),
        (
            ["mlhub.allowList.names={ann}", "mlhub.env.DYNAMIC_WHITELIST_ENABLED=false"],
            "says that nobody asks",
        ),
        (["gateway.enabled=true"], "gateway.enabled=true needs gateway.parentRefs"),
        (
            ["gateway.enabled=true", "gateway.parentRefs[0].name=x", "proxy.https.enabled=true"],
            "Let TLS end at the Gateway",
        ),
        (
            [
                "gateway.enabled=true",
                "gateway.parentRefs[0].name=x",
                "gateway.httpRoute.enabled=false",
            ],
            "are all off",
        ),
    ],
)
def test_contradictions_are_refused_with_the_cure(values, sentence):
    assert sentence in refusal(*(word for value in values for word in ("--set", value)))


def test_values_of_zero_to_jupyterhub_are_refused_in_one_list_with_where_each_goes(tmp_path):
    values: dict = {}
    for path in FOREIGN_KEYS:
        *sections, name = path.split(".")
        section = values
        for each in sections:
            section = section.setdefault(each, {})
        section[name] = False
    values["hub"]["image"] = {"name": "quay.io/jupyterhub/k8s-hub"}
    (tmp_path / "z2jh.yaml").write_text(json.dumps(values))
    said = refusal("--values", str(tmp_path / "z2jh.yaml"))
    listed = [line.strip() for line in said.splitlines() if line.startswith("  ")]
    assert listed[:-1] == [f"{path}: {place}" for path, place in FOREIGN_KEYS.items()]
    assert listed[-1].startswith("hub.image.name=quay.io/jupyterhub/k8s-hub: ")
    assert "additional properties" not in said


def test_a_value_that_says_nothing_is_none_of_zero_to_jupyterhubs():
    template("--set", TOKEN, "--set-json", 'hub={"config": {}, "cookieSecret": null}')


@pytest.mark.parametrize(
    ("value", "given", "cure"),
    [
        ("policy", "./policy.yaml", "policy=./policy.yaml"),
        ("policy", "just words", "policy=./policy.yaml"),
        ("userConfig", "./jupyterhub_user_config.py", "userConfig=./jupyterhub_user_config.py"),
        ("userConfig", "C:\\\\site\\\\config.py", "userConfig=./jupyterhub_user_config.py"),
        ("mlhub.allowList.names", "/etc/people", "mlhub.allowList.names=./people.txt"),
        ("mlhub.allowList.names", "people.csv", "mlhub.allowList.names=./people.txt"),
        ("proxy.https.manual.cert", "cert.crt", "proxy.https.manual.cert=./cert.crt"),
        ("proxy.https.manual.key", "cert.key", "proxy.https.manual.key=./cert.key"),
    ],
)
def test_the_name_of_a_file_in_place_of_its_content_is_refused(value, given, cure):
    pair = {"proxy.https.manual.cert": PEM, "proxy.https.manual.key": PEM, value: given}
    words = [f"{key}={text}" for key, text in pair.items()] if "https" in value else []
    words = words or [f"{value}={given}"]
    said = refusal(
        "--set",
        "proxy.https.enabled=true",
        *(word for each in words for word in ("--set", each)),
    )
    assert f"{value} " in said or f"{value}=" in said
    assert f"--set-file {cure}" in said


@pytest.mark.parametrize(
    "given",
    [
        "policy=everyone: {custom_images: false}",
        "policy=# nothing yet",
        "userConfig=c.Spawner.cpu_limit = 2",
        "userConfig=# see docs/",
        "mlhub.allowList.names=ann.smith",
        "mlhub.allowList.names=ann@example.org",
    ],
)
def test_a_short_content_is_not_taken_for_the_name_of_a_file(given):
    template("--set", TOKEN, "--set", given)


def test_what_is_refused_only_in_company_is_fine_alone():
    template(
        "--set", TOKEN, "--set", "mlhub.env.SSL_ENABLED=true", "--set", "proxy.https.enabled=true"
    )
    template("--set", TOKEN, "--set", "ingress.enabled=true")
    template(
        "--set", TOKEN, "--set", "ingress.enabled=true", "--set", "ingress.tls[0].secretName=mine"
    )
    template("--set", TOKEN, "--set", "hub.db.pvc.existingClaim=mine")
    secret = ("proxy.https.enabled=true", "proxy.https.type=secret", "proxy.https.secret.name=mine")
    template("--set", TOKEN, *(word for value in secret for word in ("--set", value)))
    template("--set", TOKEN, "--set", "singleuser.networkPolicy.internetExcept={203.0.113.0/24}")
    template(
        "--set",
        TOKEN,
        "--set",
        "mlhub.workspaceEgress=all",
        "--set",
        "singleuser.networkPolicy.enabled=false",
    )
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
    result = run("helm", "template", "one", CHART)
    assert result.returncode != 0
    assert "Set mlhub.secretToken (openssl rand -hex 32), or mlhub.existingSecret" in result.stderr
    template("--set", "mlhub.existingSecret=given")
