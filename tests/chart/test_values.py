"""Ways in, networks, secrets, database: what follows from single values, rendered and read back."""

from __future__ import annotations

import json
from base64 import b64decode

import pytest
import yaml

from tests.support.helm import (
    CHART,
    TOKEN,
    container,
    containers,
    environment,
    pods,
    read_config,
    select,
    template,
    values_of,
    what_templates_need,
)

# HTTPS


@pytest.mark.parametrize(
    ("scenario", "in_pod", "printed", "ports", "certificate"),
    [
        ("minimal", "false", "false", [80], None),
        ("https-trial", "true", "true", [80, 443], None),
        ("https-manual", "true", "true", [80, 443], ("one-proxy-tls", "tls.crt", "tls.key")),
        ("https-secret", "true", "true", [80, 443], ("hub-certificate", "tls.crt", "tls.key")),
        ("letsencrypt", "true", "true", [80, 443], ("one-proxy-tls", "tls.crt", "tls.key")),
        ("letsencrypt-ingress", "false", "true", [80, 443], None),
        ("offload", "false", "true", [80, 443], None),
        ("ingress", "false", "true", [80], None),
        ("gateway-tls", "true", "true", [80, 443], ("hub-certificate", "cert.crt", "cert.key")),
    ],
)
def test_tls_ends_where_the_values_say(scenario, in_pod, printed, ports, certificate):
    objects = template(*values_of(scenario), *what_templates_need(scenario))
    assert environment(container(objects, "proxy"))["SSL_ENABLED"] == in_pod
    assert environment(container(objects, "hub"))["SSL_ENABLED"] == printed
    public = select(objects, "Service", "-proxy-public")["spec"]["ports"]
    assert [(port["port"], port["targetPort"]) for port in public] == [
        (port, "public") for port in ports
    ]
    volumes = {volume["name"]: volume for volume in dict(pods(objects))["one-proxy"]["volumes"]}
    if certificate is None:
        assert "certificate" not in volumes
        return
    secret = volumes["certificate"]["secret"]
    assert secret["secretName"] == certificate[0]
    assert [(item["key"], item["path"]) for item in secret["items"]] == [
        (certificate[1], "cert.crt"),
        (certificate[2], "cert.key"),
    ]
    # As a directory: a single file mounted by subPath would never show a renewed certificate.
    mount = next(
        each
        for each in container(objects, "proxy")["volumeMounts"]
        if each["name"] == "certificate"
    )
    assert mount == {"name": "certificate", "mountPath": "/resources/ssl", "readOnly": True}


def test_a_keys_passphrase_comes_from_the_same_secret_and_to_the_proxy_alone():
    scenario = values_of("https-secret")
    passphrase = ("--set", TOKEN, "--set", "proxy.https.secret.passphrase=word")
    objects = template(*scenario, *passphrase)
    proxy = dict(pods(objects))["one-proxy"]
    volume = next(each for each in proxy["volumes"] if each["name"] == "certificate")
    assert {"key": "word", "path": "passphrase"} in volume["secret"]["items"]
    variable, file = "SSL_KEY_PASSPHRASE_FILE", "/resources/ssl/passphrase"
    assert environment(container(objects, "proxy"))[variable] == file
    assert variable not in environment(container(objects, "hub"))
    without = container(template(*scenario, "--set", TOKEN), "proxy")
    assert variable not in environment(without)


def test_cert_manager_is_asked_for_the_pod_or_for_the_ingress():
    certificate = select(template(*values_of("letsencrypt"), "--set", TOKEN), "Certificate")["spec"]
    assert certificate["dnsNames"] == ["hub.example.org"]
    assert certificate["issuerRef"] == {
        "group": "cert-manager.io",
        "kind": "ClusterIssuer",
        "name": "letsencrypt",
    }
    ingress = select(template(*values_of("letsencrypt-ingress"), "--set", TOKEN), "Ingress")
    assert ingress["metadata"]["annotations"] == {"cert-manager.io/issuer": "letsencrypt"}
    assert ingress["spec"]["tls"] == [{"hosts": ["hub.example.org"], "secretName": "one-proxy-tls"}]


def test_a_variable_of_the_hub_may_come_from_a_secret():
    variables = environment(container(template(*values_of("https-manual"), "--set", TOKEN), "hub"))
    assert variables["AAD_CLIENT_SECRET"] == {
        "secretKeyRef": {"name": "azure", "key": "client-secret", "optional": True}
    }


# ways in


def test_the_ingress_leads_to_the_public_service_under_the_path():
    spec = select(template(*values_of("ingress"), "--set", TOKEN), "Ingress")["spec"]
    assert [rule["host"] for rule in spec["rules"]] == ["hub.example.org", "hub.example.com"]
    path = spec["rules"][0]["http"]["paths"][0]
    assert path["path"] == "/mlhub"
    assert path["backend"]["service"] == {"name": "one-proxy-public", "port": {"name": "http"}}
    suffixed = template(*values_of("ingress"), "--set", TOKEN, "--set", "ingress.pathSuffix=/*")
    assert select(suffixed, "Ingress")["spec"]["rules"][0]["http"]["paths"][0]["path"] == "/mlhub/*"
    nameless = template(*values_of("ingress"), "--set", TOKEN, "--set-json", "ingress.hosts=[]")
    assert "host" not in select(nameless, "Ingress")["spec"]["rules"][0]


def test_the_gateway_leads_http_and_by_tcp_everything():
    objects = template(*values_of("gateway"), "--set", TOKEN)
    assert select(objects, "HTTPRoute")["spec"]["rules"][0]["backendRefs"] == [
        {"name": "one-proxy-public", "port": 80}
    ]
    assert select(objects, "TCPRoute")["spec"]["rules"][0]["backendRefs"] == [
        {"name": "one-proxy-public", "port": 80}
    ]
    handed_through = template(*values_of("gateway-tls"), "--set", TOKEN)
    assert select(handed_through, "TLSRoute")["spec"]["rules"][0]["backendRefs"] == [
        {"name": "one-proxy-public", "port": 443}
    ]
    assert "HTTPRoute" not in {each["kind"] for each in handed_through}


def test_ssh_has_an_address_of_its_own_where_asked():
    service = select(
        template(*values_of("letsencrypt-ingress"), "--set", TOKEN), "Service", "-ssh"
    )["spec"]
    assert service["ports"] == [{"name": "ssh", "port": 2222, "targetPort": "ssh"}]
    assert service["selector"]["app.kubernetes.io/component"] == "bastion"
    assert service["loadBalancerSourceRanges"] == ["192.0.2.0/24"]


def test_without_ssh_there_is_no_door():
    objects = template(*values_of("ingress"), "--set", TOKEN)
    assert set(dict(pods(objects))) == {"one-hub", "one-proxy", "one-test"}
    assert set(dict(pods(template("--set", TOKEN)))) == {
        "one-hub",
        "one-proxy",
        "one-test",
        "one-bastion",
    }
    assert [port["port"] for port in select(objects, "Service", "one")["spec"]["ports"]] == [
        8081,
        8083,
    ]
    assert "SSHD_TARGET" not in environment(container(objects, "proxy"))
    assert "MLHUB_BASTION_TOKEN" not in environment(container(objects, "hub"))
    ports = json.dumps([each["spec"] for each in objects if each["kind"] == "NetworkPolicy"])
    assert "2222" not in ports
    assert "2223" not in ports
    assert "8082" not in ports


# networks


OWN = [{"to": [{"ipBlock": {"cidr": "10.20.0.0/16"}}]}]


def egress_of_workspaces(*arguments: str, reach: str = "", **policy: object) -> list[dict]:
    given = [
        word
        for name, value in policy.items()
        for word in ("--set-json", f"singleuser.networkPolicy.{name}={json.dumps(value)}")
    ]
    given += ["--set-json", f"mlhub.workspaceEgress={json.dumps(reach)}"] if reach else []
    return select(template("--set", TOKEN, *arguments, *given), "NetworkPolicy", "-singleuser")[
        "spec"
    ]["egress"]


def opened(*blocks: dict) -> dict:
    return {"to": [{"ipBlock": block} for block in blocks]}


HUB_AND_DNS = [
    [{"port": 8081, "protocol": "TCP"}],
    [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}],
]
# Where clouds hand out credentials, as mlhub/egress.py has it.
SHUT = [
    "169.254.0.0/16",
    "168.63.129.16/32",
    "100.100.100.200/32",
    "192.0.0.192/32",
    "169.254.169.254/32",
]
SHUT6 = ["fe80::/10", "fd00:ec2::254/128", "fd20:ce::254/128"]


def test_workspaces_reach_the_internet_and_nothing_private():
    blocks = [
        peer["ipBlock"]
        for rule in egress_of_workspaces()
        if "ports" not in rule
        for peer in rule["to"]
    ]
    assert [block["cidr"] for block in blocks] == ["0.0.0.0/0"]
    shut = {
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "100.64.0.0/10",
        "198.18.0.0/15",
        "192.0.0.0/24",
        *SHUT,
    }
    assert shut < set(blocks[0]["except"])
    for spelling in ("internet", " Internet, "):
        assert egress_of_workspaces(reach=spelling) == egress_of_workspaces()


def test_with_none_workspaces_reach_the_hub_and_dns():
    assert [rule["ports"] for rule in egress_of_workspaces(reach="none")] == HUB_AND_DNS
    assert egress_of_workspaces(reach="none") == egress_of_workspaces()[:-1]


@pytest.mark.parametrize(
    ("ranges", "rule"),
    [
        ("10.20.0.0/16", opened({"cidr": "10.20.0.0/16"})),
        ("10.20.0.5, fd12::/48", opened({"cidr": "10.20.0.5/32"}, {"cidr": "fd12::/48"})),
        ("FD12::1", opened({"cidr": "fd12::1/128"})),
        ("2000::/3", opened({"cidr": "2000::/3"})),
        ("100.64.0.0/10", opened({"cidr": "100.64.0.0/10", "except": ["100.100.100.200/32"]})),
        ("160.0.0.0/4", opened({"cidr": "160.0.0.0/4", "except": [SHUT[0], SHUT[1], SHUT[-1]]})),
        ("fd00::/8", opened({"cidr": "fd00::/8", "except": SHUT6[1:]})),
    ],
)
def test_a_sites_ranges_are_open_alone_or_beside_the_internet_and_metadata_is_not(ranges, rule):
    assert egress_of_workspaces(reach=ranges) == [*egress_of_workspaces(reach="none"), rule]
    assert egress_of_workspaces(reach=f"internet,{ranges}") == [*egress_of_workspaces(), rule]


def test_with_all_everything_is_open_but_metadata():
    everything = opened({"cidr": "0.0.0.0/0", "except": SHUT}, {"cidr": "::/0", "except": SHUT6})
    assert egress_of_workspaces(reach="all") == [*egress_of_workspaces(reach="none"), everything]


def test_the_metadata_address_is_excepted_wherever_it_is():
    for reach in ("internet", "all", "203.0.113.0/24"):
        for arguments in ((), ("--set", "singleuser.cloudMetadata.ip=203.0.113.1")):
            block = egress_of_workspaces(*arguments, reach=reach)[-1]["to"][0]["ipBlock"]
            ip = "203.0.113.1" if arguments else "169.254.169.254"
            assert (f"{ip}/32" in block.get("except", [])) is not (
                reach == "203.0.113.0/24" and not arguments
            )
    enabled = egress_of_workspaces("--set", "singleuser.cloudMetadata.enabled=true")
    assert enabled == [
        *egress_of_workspaces(),
        {
            "to": [{"ipBlock": {"cidr": "169.254.169.254/32"}}],
            "ports": [{"port": 80, "protocol": "TCP"}],
        },
    ]


def test_a_sites_own_rules_take_the_place_of_the_internet():
    hub_and_dns = egress_of_workspaces(reach="none")
    assert egress_of_workspaces(egress=OWN) == [*hub_and_dns, *OWN]
    assert egress_of_workspaces(egress=[]) == hub_and_dns


def test_a_site_has_its_own_rules_and_what_it_names_where_it_asks_for_both():
    assert egress_of_workspaces(reach="internet", egress=OWN) == [*egress_of_workspaces(), *OWN]
    assert egress_of_workspaces(reach="none", egress=OWN) == egress_of_workspaces(egress=OWN)


def test_the_proxys_api_is_for_the_hub_alone_and_the_proxied_ssh_port_for_the_proxy_alone():
    objects = template("--set", TOKEN)
    api = [
        rule
        for rule in select(objects, "NetworkPolicy", "one-proxy")["spec"]["ingress"]
        if {"port": 8001, "protocol": "TCP"} in rule["ports"]
    ]
    proxied = [
        rule
        for rule in select(objects, "NetworkPolicy", "one-bastion")["spec"]["ingress"]
        if {"port": 2223, "protocol": "TCP"} in rule["ports"]
    ]
    questions = [
        rule
        for rule in select(objects, "NetworkPolicy", "one-hub")["spec"]["ingress"]
        if {"port": 8082, "protocol": "TCP"} in rule["ports"]
    ]
    for rules, component in ((api, "hub"), (proxied, "proxy"), (questions, "bastion")):
        assert len(rules) == 1
        assert [
            peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"]
            for peer in rules[0]["from"]
        ] == [component]
        assert len(rules[0]["ports"]) == 1


# secrets, database, metrics


def test_a_secret_of_the_sites_own_is_the_only_one():
    objects = template(*values_of("existing-secrets"))
    # But for that of the user config, which is always there, and empty here.
    secret = select(objects, "Secret")
    assert secret["metadata"]["name"] == "one-user-config"
    assert secret["data"] == {"jupyterhub_user_config.py": ""}
    variables = environment(container(objects, "hub"))
    assert variables["JPY_COOKIE_SECRET"]["secretKeyRef"] == {
        "name": "hub-secrets",
        "key": "hub.cookieSecret",
    }
    volumes = {volume["name"]: volume for volume in dict(pods(objects))["one-hub"]["volumes"]}
    assert volumes["ssh-keys"]["secret"] == {
        "secretName": "hub-secrets",
        "defaultMode": 0o400,
        "items": [{"key": "ssh.ca", "path": "ca"}],
    }
    host_key = {volume["name"]: volume for volume in dict(pods(objects))["one-bastion"]["volumes"]}[
        "host-key"
    ]["secret"]
    assert host_key["secretName"] == "hub-secrets"
    assert host_key["items"] == [{"key": "ssh.hostKey", "path": "host_key"}]
    assert environment(container(objects, "ssh"))["MLHUB_BASTION_TOKEN"]["secretKeyRef"] == {
        "name": "hub-secrets",
        "key": "ssh.token",
    }
    assert volumes["secret"]["projected"]["sources"] == [
        {"secret": {"name": "one-user-config"}},
        {
            "secret": {
                "name": "hub-database",
                "items": [
                    {"key": "uri", "path": "hub.db.url"},
                    {"key": "password", "path": "hub.db.password"},
                ],
            }
        },
    ]
    assert volumes["data"] == {"name": "data", "emptyDir": {}}


def test_with_the_token_alone_the_hub_keeps_the_other_secrets_on_its_volume():
    objects = template("--set", TOKEN)
    data = select(objects, "Secret", "one-hub")["data"]
    assert set(data) == {"proxy.token", "ssh.token"}
    assert (
        data == select(template("--set", TOKEN), "Secret", "one-hub")["data"]
    )  # rendered again, it is the same
    assert (
        data["ssh.token"]
        != select(template("--set", f"{TOKEN}x"), "Secret", "one-hub")["data"]["ssh.token"]
    )
    variables = environment(container(objects, "hub"))
    assert "JPY_COOKIE_SECRET" not in variables
    assert "MLHUB_SSH_KEYS_DIR" not in variables
    assert "MLHUB_SSH_KEYS_DIR" not in environment(container(objects, "ssh"))
    assert {"name": "data", "persistentVolumeClaim": {"claimName": "one-hub-db-dir"}} in dict(
        pods(objects)
    )["one-hub"]["volumes"]


def test_a_claim_of_the_sites_own_takes_the_place_of_ours():
    objects = template("--set", TOKEN, "--set", "hub.db.pvc.existingClaim=hub-db-dir")
    assert "PersistentVolumeClaim" not in {each["kind"] for each in objects}
    assert {"name": "data", "persistentVolumeClaim": {"claimName": "hub-db-dir"}} in dict(
        pods(objects)
    )["one-hub"]["volumes"]


def test_the_databases_password_reaches_the_hub_as_a_file_alone():
    objects = template(*values_of("postgres"), "--set", "mlhub.existingSecret=given")
    assert set(select(objects, "Secret", "one-hub")["data"]) == {"hub.db.url", "hub.db.password"}
    assert "not-a-secret-here" not in json.dumps(
        [each for each in objects if each["kind"] != "Secret"]
    )
    mounts = {
        mount["name"]: mount["mountPath"] for mount in container(objects, "hub")["volumeMounts"]
    }
    assert mounts["secret"] == "/etc/jupyterhub/secret"
    assert read_config(objects)["hub"]["db"] == {"type": "postgres", "upgrade": True}


def test_prometheus_is_let_in_with_a_token_of_its_own():
    objects = template(*values_of("site"), "--set", "mlhub.existingSecret=given")
    endpoint = select(objects, "ServiceMonitor")["spec"]["endpoints"][0]
    assert endpoint["path"] == "/hub/metrics"
    assert endpoint["authorization"]["credentials"] == {"name": "given", "key": "metrics.token"}
    peers = select(objects, "NetworkPolicy", "one-hub")["spec"]["ingress"][0]["from"]
    assert {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}
    } in peers
    assert (
        len(
            select(template("--set", TOKEN), "NetworkPolicy", "one-hub")["spec"]["ingress"][0][
                "from"
            ]
        )
        == len(peers) - 1
    )


def test_the_policy_is_a_file_whether_map_or_text():
    as_map = select(template(*values_of("hardened"), "--set", TOKEN), "ConfigMap", "-policy")[
        "data"
    ]["policy.yaml"]
    assert yaml.safe_load(as_map)["everyone"]["cpu_limit"] == {"default": 1, "max": 2}
    as_text = select(
        template(*values_of("site"), "--set", "mlhub.existingSecret=given"), "ConfigMap", "-policy"
    )["data"]["policy.yaml"]
    assert yaml.safe_load(as_text) == {"everyone": {"cpu_limit": {"max": 4}}}


def test_a_text_whose_first_line_is_indented_arrives_as_it_is(tmp_path):
    texts = {
        "policy": "   # of the lab\neveryone:\n  cpu_limit: {max: 4}\n",
        "mlhub.allowList.names": "  ann\nbob\n",
        "userConfig": "   # of the lab\nc.JupyterHub.allow_named_servers = False\n",
    }
    arguments = ["--set", TOKEN]
    for value, text in texts.items():
        (tmp_path / value).write_text(text)
        arguments += ["--set-file", f"{value}={tmp_path / value}"]
    objects = template(*arguments)
    policy = select(objects, "ConfigMap", "-policy")["data"]["policy.yaml"]
    names = select(objects, "ConfigMap", "-allow-list")["data"]["dynamic_whitelist.txt"]
    config = select(objects, "Secret", "-user-config")["data"]["jupyterhub_user_config.py"]
    assert [policy, names, b64decode(config).decode()] == [*texts.values()]


@pytest.mark.parametrize("given", ["policy.everyone.custom_images=false", "userConfig=c.x = 1"])
def test_policy_and_user_config_have_the_same_keys_and_mounts_with_and_without_them(given):
    """Of an upgrade that failed, Helm keeps what neither the one before nor the one after names."""

    def list_places(*arguments: str) -> list:
        objects = template("--set", TOKEN, *arguments)
        kept = [select(objects, "ConfigMap", "-policy"), select(objects, "Secret", "-user-config")]
        spec = dict(pods(objects))["one-hub"]
        return [
            *([each["metadata"]["name"], *each["data"]] for each in kept),
            spec["volumes"],
            spec["containers"][0]["volumeMounts"],
        ]

    assert list_places() == list_places("--set", given)


@pytest.mark.parametrize("given", ["{ann,bob}", "ann\nbob\n"])
def test_an_allow_list_is_a_file_whether_list_or_text(given):
    objects = template("--set", TOKEN, "--set", f"mlhub.allowList.names={given}")
    hub = container(objects, "hub")
    assert environment(hub)["DYNAMIC_WHITELIST_ENABLED"] == "true"
    names = select(objects, "ConfigMap", "-allow-list")
    assert names["data"]["dynamic_whitelist.txt"].split() == ["ann", "bob"]
    (mount,) = [each for each in hub["volumeMounts"] if each["name"] == "allow-list"]
    assert mount["mountPath"] == "/resources/users"  # a directory: it follows a change


def test_an_allow_list_may_be_a_configmap_of_the_sites_and_none_is_the_default():
    objects = template("--set", TOKEN, "--set", "mlhub.allowList.existingConfigMap=people")
    (volume,) = [
        each for each in dict(pods(objects))["one-hub"]["volumes"] if each["name"] == "allow-list"
    ]
    assert volume["configMap"] == {"name": "people"}
    without = template("--set", TOKEN)
    assert "DYNAMIC_WHITELIST_ENABLED" not in environment(container(without, "hub"))
    assert not [
        each
        for each in without
        if each["kind"] == "ConfigMap" and "allow-list" in each["metadata"]["name"]
    ]


def list_images(*arguments: str) -> dict[str, tuple[str, str]]:
    objects = template("--set", TOKEN, *arguments)
    found = {
        each["name"]: (each["image"].rpartition(":")[2], each["imagePullPolicy"])
        for each in containers(objects)
    }
    image = read_config(objects)["singleuser"]["image"]
    return {**found, "workspace": (image["tag"], image["pullPolicy"])}


def test_one_value_is_the_tag_of_all_images_of_the_product_and_one_when_all_are_pulled():
    names = {"take-over", "hub", "ssh", "proxy", "test"}
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
    plain = list_images()
    assert plain == {
        **dict.fromkeys(names, (version, "IfNotPresent")),
        "workspace": ("", "IfNotPresent"),
    }
    changed = list_images("--set", "image.tag=latest", "--set", "image.pullPolicy=Never")
    assert changed == {**dict.fromkeys(names, ("latest", "Never")), "workspace": ("", "Never")}
    own = list_images(
        "--set", "image.tag=a", "--set", "hub.image.tag=b", "--set", "hub.image.pullPolicy=Always"
    )
    assert own["hub"] == ("b", "Always")
    assert own["proxy"] == ("a", "IfNotPresent")
    latest = list_images("--set", "singleuser.image.pullPolicy=Always")
    assert latest["workspace"] == ("", "Always")
    assert latest["hub"] == plain["hub"]


@pytest.mark.parametrize(
    ("values", "runs_chp"),
    [
        ((), False),
        (("proxy.chp.enabled=false",), False),
        (("proxy.chp.enabled=true",), True),
        (("proxy.chp.extraArgs={--timeout=1}",), True),
    ],
)
def test_nginx_looks_up_routes_itself_where_nobody_asks_for_chp(values, runs_chp):
    words = [word for value in values for word in ("--set", value)]
    told = environment(container(template("--set", "mlhub.existingSecret=given", *words), "proxy"))
    if runs_chp:
        assert (told["START_CHP"], "MLHUB_ROUTER" in told) == ("true", False)
        assert "--default-target=" in told["ADDITIONAL_ARGS"]
    else:
        assert told["MLHUB_ROUTER"] == "true"
        assert told.keys() & {"START_CHP", "ADDITIONAL_ARGS"} == set()


def test_workspaces_that_nobody_uses_are_stopped_only_where_the_site_wants_that():
    def read(*values):
        given = [word for value in values for word in ("--set", value)]
        hub = container(template("--set", TOKEN, *given), "hub")
        return {name: value for name, value in environment(hub).items() if "CULL" in name}

    assert read() == read("cull.timeout=900") == {}
    assert read("cull.enabled=true", "cull.maxAge=1000000", "cull.every=60") == {
        "MLHUB_CULL_ENABLED": "true",
        "MLHUB_CULL_TIMEOUT": "3600",
        "MLHUB_CULL_EVERY": "60",
        "MLHUB_CULL_MAX_AGE": "1000000",
    }


def test_schedules_go_by_the_time_zone_that_the_site_names():
    def read(*values):
        given = [word for value in values for word in ("--set", value)]
        return environment(container(template("--set", TOKEN, *given), "hub")).get("MLHUB_TIMEZONE")

    assert read() is None  # UTC
    assert read("mlhub.timezone=Europe/Berlin") == "Europe/Berlin"


def test_a_hub_waits_for_a_backup_only_where_the_site_asks_for_that():
    def list_before(*words):
        found = dict(pods(template("--set", TOKEN, *words)))
        (spec,) = (spec for name, spec in found.items() if name.endswith("-hub"))
        return {each["name"]: each for each in spec["initContainers"]}, spec

    assert set(list_before()[0]) == {"take-over"}
    found, spec = list_before("--set", "hub.restore=true")
    assert set(found) == {"take-over", "restore"}
    hub = spec["containers"][0]
    assert found["restore"]["image"] == hub["image"]
    assert found["restore"]["securityContext"] == hub["securityContext"]
    assert environment(found["restore"])["HUB_NAME"] == environment(hub)["HUB_NAME"]


def test_what_a_site_adds_is_there():
    objects = template(*values_of("site"), "--set", "mlhub.existingSecret=given")
    spec = dict(pods(objects))["one-hub"]
    assert [each["name"] for each in spec["containers"]] == ["hub", "beside"]
    assert [each["name"] for each in spec["initContainers"]] == ["take-over", "wait"]
    assert spec["nodeSelector"] == {"disk": "ssd"}
    assert (
        spec["priorityClassName"]
        == select(objects, "PriorityClass", "-default-priority")["metadata"]["name"]
    )
    assert spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert environment(container(objects, "proxy"))["ADDITIONAL_ARGS"].endswith(" --timeout=60000")
    assert select(objects, "ConfigMap", "-extra")["data"] == {"hub": "one"}
    assert select(objects, "ConfigMap", "one-text")
    config = read_config(objects)
    assert config["chart"]["imagePullSecrets"] == ["registry", "notebooks"]
    assert config["singleuser"]["storage"]["storageClass"] == "fast"
