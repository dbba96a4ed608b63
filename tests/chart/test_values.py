"""Ways in, networks, secrets, database: what follows from single values, rendered and read back."""

from __future__ import annotations

import json

import pytest
import yaml

from tests.chart.helm import TOKEN, container, environment, pods, read_config, select, template, values_of, what_templates_need

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
    assert [(port["port"], port["targetPort"]) for port in public] == [(port, "public") for port in ports]
    volumes = {volume["name"]: volume for volume in dict(pods(objects))["one-proxy"]["volumes"]}
    if certificate is None:
        assert "certificate" not in volumes
        return
    secret = volumes["certificate"]["secret"]
    assert secret["secretName"] == certificate[0]
    assert [(item["key"], item["path"]) for item in secret["items"]] == [(certificate[1], "cert.crt"), (certificate[2], "cert.key")]
    # As a directory: a single file mounted by subPath would never show a renewed certificate.
    mount = next(each for each in container(objects, "proxy")["volumeMounts"] if each["name"] == "certificate")
    assert mount == {"name": "certificate", "mountPath": "/resources/ssl", "readOnly": True}


def test_cert_manager_is_asked_for_the_pod_or_for_the_ingress():
    certificate = select(template(*values_of("letsencrypt"), "--set", TOKEN), "Certificate")["spec"]
    assert certificate["dnsNames"] == ["hub.example.org"]
    assert certificate["issuerRef"] == {"group": "cert-manager.io", "kind": "ClusterIssuer", "name": "letsencrypt"}
    ingress = select(template(*values_of("letsencrypt-ingress"), "--set", TOKEN), "Ingress")
    assert ingress["metadata"]["annotations"] == {"cert-manager.io/issuer": "letsencrypt"}
    assert ingress["spec"]["tls"] == [{"hosts": ["hub.example.org"], "secretName": "one-proxy-tls"}]


def test_a_variable_of_the_hub_may_come_from_a_secret():
    variables = environment(container(template(*values_of("https-manual"), "--set", TOKEN), "hub"))
    assert variables["AAD_CLIENT_SECRET"] == {"secretKeyRef": {"name": "azure", "key": "client-secret", "optional": True}}


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
    assert select(objects, "HTTPRoute")["spec"]["rules"][0]["backendRefs"] == [{"name": "one-proxy-public", "port": 80}]
    assert select(objects, "TCPRoute")["spec"]["rules"][0]["backendRefs"] == [{"name": "one-proxy-public", "port": 80}]
    handed_through = template(*values_of("gateway-tls"), "--set", TOKEN)
    assert select(handed_through, "TLSRoute")["spec"]["rules"][0]["backendRefs"] == [{"name": "one-proxy-public", "port": 443}]
    assert "HTTPRoute" not in {each["kind"] for each in handed_through}


def test_ssh_has_an_address_of_its_own_where_asked():
    service = select(template(*values_of("letsencrypt-ingress"), "--set", TOKEN), "Service", "-ssh")["spec"]
    assert service["ports"] == [{"name": "ssh", "port": 2222, "targetPort": "ssh"}]
    assert service["selector"]["app.kubernetes.io/component"] == "bastion"
    assert service["loadBalancerSourceRanges"] == ["192.0.2.0/24"]


def test_without_ssh_there_is_no_door():
    objects = template(*values_of("ingress"), "--set", TOKEN)
    assert set(dict(pods(objects))) == {"one-hub", "one-proxy", "one-test"}
    assert set(dict(pods(template("--set", TOKEN)))) == {"one-hub", "one-proxy", "one-test", "one-bastion"}
    assert [port["port"] for port in select(objects, "Service", "one")["spec"]["ports"]] == [8081]
    assert "SSHD_TARGET" not in environment(container(objects, "proxy"))
    assert "MLHUB_BASTION_TOKEN" not in environment(container(objects, "hub"))
    ports = json.dumps([each["spec"] for each in objects if each["kind"] == "NetworkPolicy"])
    assert "2222" not in ports
    assert "2223" not in ports
    assert "8082" not in ports


# networks


OWN = [{"to": [{"ipBlock": {"cidr": "10.20.0.0/16"}}]}]


def egress_of_workspaces(*arguments: str, **policy: object) -> list[dict]:
    given = [word for name, value in policy.items() for word in ("--set-json", f"singleuser.networkPolicy.{name}={json.dumps(value)}")]
    return select(template("--set", TOKEN, *arguments, *given), "NetworkPolicy", "-singleuser")["spec"]["egress"]


def test_workspaces_reach_the_internet_and_nothing_private():
    blocks = [peer["ipBlock"] for rule in egress_of_workspaces() if "ports" not in rule for peer in rule["to"]]
    assert [block["cidr"] for block in blocks] == ["0.0.0.0/0"]
    assert {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16"} < set(blocks[0]["except"])
    assert egress_of_workspaces(internet=True) == egress_of_workspaces()
    assert egress_of_workspaces(internet=False) == egress_of_workspaces()[:-1]


def test_the_metadata_address_is_excepted_wherever_it_is():
    for arguments in ((), ("--set", "singleuser.cloudMetadata.ip=203.0.113.1")):
        rule = egress_of_workspaces(*arguments)[-1]
        ip = "203.0.113.1" if arguments else "169.254.169.254"
        assert f"{ip}/32" in rule["to"][0]["ipBlock"]["except"]
    opened = egress_of_workspaces("--set", "singleuser.cloudMetadata.enabled=true")
    assert opened == [
        *egress_of_workspaces(),
        {"to": [{"ipBlock": {"cidr": "169.254.169.254/32"}}], "ports": [{"port": 80, "protocol": "TCP"}]},
    ]


def test_a_sites_own_rules_take_the_place_of_the_internet():
    hub_and_dns = egress_of_workspaces(internet=False)
    assert [rule["ports"] for rule in hub_and_dns] == [
        [{"port": 8081, "protocol": "TCP"}],
        [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}],
    ]
    assert egress_of_workspaces(egress=OWN) == [*hub_and_dns, *OWN]
    assert egress_of_workspaces(egress=[]) == hub_and_dns


def test_a_site_has_its_own_rules_and_the_internet_where_it_asks_for_both():
    assert egress_of_workspaces(internet=True, egress=OWN) == [*egress_of_workspaces(), *OWN]


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
        assert [peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"] for peer in rules[0]["from"]] == [component]
        assert len(rules[0]["ports"]) == 1


# secrets, database, metrics


def test_a_secret_of_the_sites_own_is_the_only_one():
    objects = template(*values_of("existing-secrets"))
    assert "Secret" not in {each["kind"] for each in objects}
    variables = environment(container(objects, "hub"))
    assert variables["JPY_COOKIE_SECRET"]["secretKeyRef"] == {"name": "hub-secrets", "key": "hub.cookieSecret"}
    volumes = {volume["name"]: volume for volume in dict(pods(objects))["one-hub"]["volumes"]}
    assert volumes["ssh-keys"]["secret"] == {"secretName": "hub-secrets", "defaultMode": 0o400, "items": [{"key": "ssh.ca", "path": "ca"}]}
    host_key = {volume["name"]: volume for volume in dict(pods(objects))["one-bastion"]["volumes"]}["host-key"]["secret"]
    assert host_key["secretName"] == "hub-secrets"
    assert host_key["items"] == [{"key": "ssh.hostKey", "path": "host_key"}]
    assert environment(container(objects, "ssh"))["MLHUB_BASTION_TOKEN"]["secretKeyRef"] == {"name": "hub-secrets", "key": "ssh.token"}
    assert volumes["secret"]["projected"]["sources"] == [
        {
            "secret": {
                "name": "hub-database",
                "items": [{"key": "uri", "path": "hub.db.url"}, {"key": "password", "path": "hub.db.password"}],
            }
        }
    ]
    assert volumes["data"] == {"name": "data", "emptyDir": {}}


def test_with_the_token_alone_the_hub_keeps_the_other_secrets_on_its_volume():
    objects = template("--set", TOKEN)
    data = select(objects, "Secret", "one-hub")["data"]
    assert set(data) == {"proxy.token", "ssh.token"}
    assert data == select(template("--set", TOKEN), "Secret", "one-hub")["data"]  # rendered again, it is the same
    assert data["ssh.token"] != select(template("--set", f"{TOKEN}x"), "Secret", "one-hub")["data"]["ssh.token"]
    variables = environment(container(objects, "hub"))
    assert "JPY_COOKIE_SECRET" not in variables
    assert "MLHUB_SSH_KEYS_DIR" not in variables
    assert "MLHUB_SSH_KEYS_DIR" not in environment(container(objects, "ssh"))
    assert {"name": "data", "persistentVolumeClaim": {"claimName": "one-hub-db-dir"}} in dict(pods(objects))["one-hub"]["volumes"]


def test_a_claim_of_the_sites_own_takes_the_place_of_ours():
    objects = template("--set", TOKEN, "--set", "hub.db.pvc.existingClaim=hub-db-dir")
    assert "PersistentVolumeClaim" not in {each["kind"] for each in objects}
    assert {"name": "data", "persistentVolumeClaim": {"claimName": "hub-db-dir"}} in dict(pods(objects))["one-hub"]["volumes"]


def test_the_databases_password_reaches_the_hub_as_a_file_alone():
    objects = template(*values_of("postgres"), "--set", "mlhub.existingSecret=given")
    assert set(select(objects, "Secret", "one-hub")["data"]) == {"hub.db.url", "hub.db.password"}
    assert "not-a-secret-here" not in json.dumps([each for each in objects if each["kind"] != "Secret"])
    mounts = {mount["name"]: mount["mountPath"] for mount in container(objects, "hub")["volumeMounts"]}
    assert mounts["secret"] == "/etc/jupyterhub/secret"
    assert read_config(objects)["hub"]["db"] == {"type": "postgres", "upgrade": True}


def test_prometheus_is_let_in_with_a_token_of_its_own():
    objects = template(*values_of("site"), "--set", "mlhub.existingSecret=given")
    endpoint = select(objects, "ServiceMonitor")["spec"]["endpoints"][0]
    assert endpoint["path"] == "/hub/metrics"
    assert endpoint["authorization"]["credentials"] == {"name": "given", "key": "metrics.token"}
    peers = select(objects, "NetworkPolicy", "one-hub")["spec"]["ingress"][0]["from"]
    assert {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}} in peers
    assert len(select(template("--set", TOKEN), "NetworkPolicy", "one-hub")["spec"]["ingress"][0]["from"]) == len(peers) - 1


def test_the_policy_is_a_file_whether_map_or_text():
    as_map = select(template(*values_of("hardened"), "--set", TOKEN), "ConfigMap", "-policy")["data"]["policy.yaml"]
    assert yaml.safe_load(as_map)["everyone"]["cpu_limit"] == {"default": 1, "max": 2}
    as_text = select(template(*values_of("site"), "--set", "mlhub.existingSecret=given"), "ConfigMap", "-policy")["data"]["policy.yaml"]
    assert yaml.safe_load(as_text) == {"everyone": {"cpu_limit": {"max": 4}}}


def test_what_a_site_adds_is_there():
    objects = template(*values_of("site"), "--set", "mlhub.existingSecret=given")
    spec = dict(pods(objects))["one-hub"]
    assert [each["name"] for each in spec["containers"]] == ["hub", "beside"]
    assert [each["name"] for each in spec["initContainers"]] == ["wait"]
    assert spec["nodeSelector"] == {"disk": "ssd"}
    assert spec["priorityClassName"] == select(objects, "PriorityClass", "-default-priority")["metadata"]["name"]
    assert spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert environment(container(objects, "proxy"))["ADDITIONAL_ARGS"].endswith(" --timeout=60000")
    assert select(objects, "ConfigMap", "-extra")["data"] == {"hub": "one"}
    assert select(objects, "ConfigMap", "one-text")
    config = read_config(objects)
    assert config["chart"]["imagePullSecrets"] == ["registry", "notebooks"]
    assert config["singleuser"]["storage"]["storageClass"] == "fast"
