"""What Helm itself does with the chart on a real cluster: packages, secrets over upgrades, what an
uninstall leaves.

No pod has to run for that, so the image does not exist.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from mlhub import __version__
from tests.support.certificates import make_pair
from tests.support.helm import CHART, TOKEN, Namespace, read_howto, run, succeed

ROOT = CHART.parents[1]
NO_IMAGE = [
    "--set",
    "hub.image.name=mlhub-test/none",
    "--set",
    "proxy.chp.image.name=mlhub-test/none",
]
KINDS = (
    "deployment,service,secret,configmap,persistentvolumeclaim,networkpolicy,poddisruptionbudget,"
    "role,rolebinding,serviceaccount,ingress"
)


def install(namespace: Namespace, *arguments: str, release: str = "one") -> str:
    return namespace.helm("upgrade", "--install", release, str(CHART), *NO_IMAGE, *arguments)


def read_secret(namespace: Namespace) -> dict[str, str]:
    return dict(namespace.get("secret", "one-hub")["data"])


def test_secrets_are_generated_once_and_kept_key_by_key(namespace):
    install(namespace)
    first = read_secret(namespace)
    assert set(first) == {
        "proxy.token",
        "hub.cookieSecret",
        "ssh.ca",
        "ssh.hostKey",
        "ssh.token",
        "metrics.token",
    }
    assert len(set(first.values())) == len(first)
    install(namespace, "--set", "mlhub.debug=true")
    assert read_secret(namespace) == first
    namespace.kubectl(
        "patch",
        "secret",
        "one-hub",
        "--type=json",
        "--patch",
        '[{"op": "remove", "path": "/data/ssh.hostKey"}]',
    )
    install(namespace)
    mended = read_secret(namespace)
    assert mended.pop("ssh.hostKey") not in first.values()
    assert mended == {key: value for key, value in first.items() if key != "ssh.hostKey"}


def test_a_secret_of_the_sites_own_that_lacks_a_key_is_refused_before_anything_is_replaced(
    namespace,
):
    keys = ["proxy.token", "hub.cookieSecret", "ssh.ca", "ssh.hostKey", "ssh.token"]
    words = (
        "create",
        "secret",
        "generic",
        "given",
        *(f"--from-literal={key}=x" for key in keys[:-1]),
    )
    namespace.kubectl(*words)
    given = (
        "upgrade",
        "--install",
        "one",
        str(CHART),
        "--namespace",
        namespace.name,
        *NO_IMAGE,
        "--set",
        "mlhub.existingSecret=given",
    )
    refused = run("helm", *given)
    assert refused.returncode
    assert "mlhub.existingSecret=given has no key ssh.token. Add it;" in refused.stderr
    assert namespace.list_names("deployment") == set()
    # Which only SSH needs.
    assert run("helm", *given, "--set", "ssh.enabled=false").returncode == 0
    assert (
        "metrics.token"
        in run("helm", *given, "--set", "ssh.enabled=false", "--set", "metrics.enabled=true").stderr
    )
    namespace.kubectl(
        "patch", "secret", "given", "--type=merge", "--patch", '{"stringData": {"ssh.token": "x"}}'
    )
    assert run("helm", *given).returncode == 0


def test_an_upgrade_that_changes_nothing_starts_nothing_anew(namespace):
    install(namespace)

    def read_generations() -> list[int]:
        return [
            namespace.get("deployment", f"one-{name}")["metadata"]["generation"]
            for name in ("hub", "proxy", "bastion")
        ]

    before = read_generations()
    install(namespace)
    assert read_generations() == before
    install(namespace, "--set", "mlhub.debug=true")
    assert read_generations() == [number + 1 for number in before]


def test_a_token_of_the_sites_own_takes_the_place_of_the_generated_one(namespace):
    install(namespace)
    before = read_secret(namespace)
    install(namespace, "--set", TOKEN)
    after = read_secret(namespace)
    assert after.pop("proxy.token") != before.pop("proxy.token")
    assert after == before


def test_a_dry_run_on_the_client_asks_for_a_token_and_one_on_the_server_does_not(namespace):
    arguments = ("upgrade", "--install", "one", str(CHART), "--namespace", namespace.name)
    blind = run("helm", *arguments, "--dry-run=client")
    assert "Set mlhub.secretToken (openssl rand -hex 32), or mlhub.existingSecret" in blind.stderr
    assert run("helm", *arguments, "--dry-run=server").returncode == 0


def test_a_namespace_that_helm_has_yet_to_make_is_no_reason_to_ask(namespace):
    # The namespace appears only after the templates were rendered, so nothing in it could tell a
    # cluster from none.
    missing = f"{namespace.name}-new"
    try:
        succeed(
            "helm",
            "install",
            "one",
            str(CHART),
            *NO_IMAGE,
            "--namespace",
            missing,
            "--create-namespace",
        )
        assert read_secret(Namespace(missing))
    finally:
        run("helm", "uninstall", "one", "--namespace", missing)
        run("kubectl", "delete", "namespace", missing, "--wait=false")


def test_an_uninstall_leaves_what_the_notes_say_and_their_commands_remove_the_rest(namespace):
    assert namespace.list_names(KINDS) == set()
    notes = install(
        namespace, "--set", "ingress.enabled=true", "--set", "userConfig=c.Spawner.cpu_limit=1"
    )
    secret = read_secret(namespace)
    assert (
        run("helm", "test", "one", "--namespace", namespace.name, "--timeout", "3s").returncode != 0
    )
    namespace.helm("uninstall", "one")
    assert "pod/one-test" in namespace.list_names("pod")
    assert namespace.list_names(KINDS) == {"secret/one-hub", "persistentvolumeclaim/one-hub-db-dir"}
    assert not [
        name
        for name in run(
            "kubectl", "get", "clusterrole,clusterrolebinding", "--output", "name"
        ).stdout.split()
        if namespace.name in name
    ]
    # A release of the same name takes them up again.
    install(namespace)
    assert read_secret(namespace) == secret
    namespace.helm("uninstall", "one")
    commands = [
        line.strip() for line in notes.splitlines() if re.match(r"\s+kubectl .* delete ", line)
    ]
    assert len(commands) == 3
    for command in commands:
        succeed(*shlex.split(command))
    assert namespace.list_names(KINDS) == set()
    assert "pod/one-test" not in namespace.list_names("pod")


def test_several_releases_share_a_namespace_for_real(namespace):
    install(namespace)
    install(namespace, "--values", str(CHART / "ci" / "second-release-values.yaml"), release="two")
    hubs = {
        each
        for each in namespace.list_names("deployment,service,secret")
        if not each.startswith("secret/sh.helm")
    }
    assert {
        "deployment.apps/one-hub",
        "deployment.apps/second-hub",
        "service/one",
        "service/second",
        "secret/one-hub",
        "secret/second-hub",
    } <= hubs
    namespace.helm("uninstall", "one")
    assert "deployment.apps/second-hub" in namespace.list_names("deployment")


def test_a_rollback_brings_the_values_back_and_keeps_the_secrets(namespace):
    install(namespace)
    secret = read_secret(namespace)
    install(namespace, "--set", "mlhub.baseUrl=/other")
    namespace.helm("rollback", "one", "1")
    variables = namespace.get("deployment", "one-hub")["spec"]["template"]["spec"]["containers"][0][
        "env"
    ]
    assert {"name": "MLHUB_BASE_URL", "value": "/"} in variables
    assert read_secret(namespace) == secret


def fail(namespace: Namespace, *arguments: str) -> None:
    """Upgrade so that Helm itself calls the revision failed: nothing is ready in that time."""
    command = ("upgrade", "one", str(CHART), "--namespace", namespace.name, *NO_IMAGE, *arguments)
    said = run("helm", *command, "--wait", "--timeout", "1s").stderr
    assert "UPGRADE FAILED" in said
    assert "deadline exceeded" in said


def test_nothing_of_an_upgrade_that_failed_stays_whatever_comes_after_it(namespace):
    broken = ("--set", "policy.everyone.custom_images=true", "--set", "userConfig=c.broken = 1")

    def read_given() -> tuple[str, str]:
        policy = namespace.get("configmap", "one-policy")["data"]["policy.yaml"]
        config = namespace.get("secret", "one-user-config")["data"]["jupyterhub_user_config.py"]
        return policy, config

    install(namespace)
    fail(namespace, *broken)
    assert all(read_given())
    install(namespace)
    assert read_given() == ("", "")
    # What Helm merges by name is the site's own: that would stay, and the next upgrade says so.
    fail(namespace, *broken, "--set", "mlhub.env.SITE=x,hub.resources.limits.memory=600Mi")
    refused = run(
        "helm", "upgrade", "one", str(CHART), "--namespace", namespace.name, *NO_IMAGE
    ).stderr
    assert "would leave of it in deployment/one-hub: " in refused
    assert "the variable SITE" in refused
    assert "limits.memory of the container hub" in refused
    (cure,) = re.findall(r"helm rollback one \d+ --namespace \S+", refused)
    succeed(*cure.split())
    assert read_given() == ("", "")
    container = namespace.get("deployment", "one-hub")["spec"]["template"]["spec"]["containers"][0]
    assert "SITE" not in {each["name"] for each in container["env"]}
    assert "limits" not in container["resources"]


# the documented commands


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    """Return the chart's package, made as a release makes it."""
    folder = tmp_path_factory.mktemp("package")
    succeed(ROOT / "scripts" / "release", "chart", folder)
    return next(folder.glob("*.tgz"))


def test_the_package_has_the_documented_name_and_the_products_version(package):
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert package.name == f"mlhub-chart-{chart['version']}.tgz"
    assert chart["appVersion"] == chart["version"]
    assert chart["version"].replace("-", ".", 1).replace("dev.", "dev") == __version__
    listed = subprocess.run(
        ["tar", "-tzf", package], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert "mlhub-chart/values.schema.json" in listed
    assert "mlhub-chart/files/check.py" in listed
    left_out = ("/ci/", "values.schema.yaml")
    assert not [name for name in listed if any(part in name for part in left_out)]


@pytest.mark.full
def test_the_commands_of_the_readme_work_word_for_word(namespace, package, tmp_path):
    (tmp_path / package.name).write_bytes(package.read_bytes())
    values = yaml.safe_load((CHART / "ci" / "https-manual-values.yaml").read_text())
    environment = {
        "DYNAMIC_WHITELIST_ENABLED": True,
        "SSL_ENABLED": True,
        "AAD_TENANT_ID": "<azure-tenant-id>",
    }
    values["mlhub"] = {"baseUrl": "/mlhub", "debug": True, "env": environment}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(values))
    (tmp_path / "jupyterhub_user_config.py").write_text(
        'c.KubeSpawner.environment = {"FOO_TEST": "BAR_TEST"}\n'
    )
    script = f"""
        set -eu
        RELEASE=mlhub
        NAMESPACE={namespace.name}
        helm upgrade --install $RELEASE {package.name} --namespace $NAMESPACE
        helm upgrade --install mlhub {package.name} --namespace $NAMESPACE --values config.yaml
        helm upgrade \\
            --install mlhub \\
            {package.name} \\
            --namespace $NAMESPACE \\
            --values config.yaml \\
            --set-file userConfig=./jupyterhub_user_config.py
    """
    succeed("sh", "-c", script, cwd=tmp_path)
    assert {
        f"deployment.apps/mlhub-{name}" for name in ("hub", "proxy", "bastion")
    } == namespace.list_names("deployment")
    variables = namespace.get("deployment", "mlhub-hub")["spec"]["template"]["spec"]["containers"][
        0
    ]["env"]
    assert {"name": "MLHUB_BASE_URL", "value": "/mlhub/"} in variables
    assert "secret/mlhub-user-config" in namespace.list_names("secret")


def test_the_templates_can_be_applied_folder_by_folder(namespace, package, tmp_path, wait_for):
    (tmp_path / package.name).write_bytes(package.read_bytes())
    arguments = (
        "template",
        "mlhub",
        package.name,
        "--namespace",
        namespace.name,
        "--set",
        TOKEN,
        "--output-dir",
        ".",
    )
    succeed("helm", *arguments, cwd=tmp_path)
    script = (
        f"cd mlhub-chart && kubectl --namespace {namespace.name} apply -f templates/hub && "
        f"kubectl --namespace {namespace.name} apply -f templates/proxy"
    )
    succeed("sh", "-ec", script, cwd=tmp_path)
    objects = namespace.list_names(KINDS)
    for name in (
        "deployment.apps/mlhub-hub",
        "deployment.apps/mlhub-proxy",
        "deployment.apps/mlhub-bastion",
        "service/mlhub",
        "service/mlhub-bastion",
        "service/mlhub-proxy-public",
        "secret/mlhub-hub",
    ):
        assert name in objects
    # The namespace admits the pods; the first tries come before the ServiceAccount, which is later
    # in the alphabet.
    wait_for(
        lambda: len(namespace.list_names("pod")) == 3,
        "the pods of hub, proxy and bastion",
        seconds=60,
    )


@pytest.mark.full
def test_the_commands_of_the_howto_work_word_for_word(namespace, package, tmp_path):
    folder = make_pair(tmp_path / "work", name="hub.example.org")
    (folder / package.name).write_bytes(package.read_bytes())
    (folder / "config.yaml").write_text(read_howto("With your own configuration", "yaml"))
    (folder / "jupyterhub_user_config.py").write_text("c.Spawner.cpu_limit = 2\n")
    (folder / "policy.yaml").write_text("everyone:\n  custom_images: false\n")

    def follow(commands: str) -> None:
        assert package.name in commands, "the page names another version"
        succeed(
            "sh",
            "-euc",
            commands.replace("--namespace mlhub", f"--namespace {namespace.name}"),
            cwd=folder,
        )

    # The namespace is here already, and nothing waits for pods, which would need the image.
    follow(read_howto("Install").splitlines()[2].replace(" --wait", ""))
    follow(read_howto("With your own configuration"))
    assert (
        namespace.get("configmap", "mlhub-policy")["data"]["policy.yaml"]
        == "everyone:\n  custom_images: false\n"
    )
    follow(read_howto("HTTPS"))
    follow(read_howto("Database"))
    spec = namespace.get("deployment", "mlhub-hub")["spec"]["template"]["spec"]
    assert {"name": "data", "emptyDir": {}} in spec["volumes"]
    assert "secret/mlhub-proxy-tls" in namespace.list_names("secret")


def test_the_volume_of_an_original_release_is_handed_over(namespace, package, tmp_path):
    # The original cannot be installed on today's clusters; what matters of it is a claim that its
    # release owns.
    old = tmp_path / "old"
    (old / "templates").mkdir(parents=True)
    (old / "Chart.yaml").write_text("apiVersion: v2\nname: mlhub-chart\nversion: 2.0.0\n")
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
    content = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "hub-db-dir"},
        "spec": claim,
    }
    (old / "templates" / "pvc.yaml").write_text(yaml.safe_dump(content))
    namespace.helm("install", "mlhub", str(old))
    (tmp_path / package.name).write_bytes(package.read_bytes())
    (tmp_path / "config.yaml").write_text("{}")
    uid = namespace.get("persistentvolumeclaim", "hub-db-dir")["metadata"]["uid"]
    commands = read_howto("Upgrade, roll back").replace(
        "--namespace mlhub", f"--namespace {namespace.name}"
    )
    succeed("sh", "-euc", commands, cwd=tmp_path)
    assert namespace.get("persistentvolumeclaim", "hub-db-dir")["metadata"]["uid"] == uid
    assert namespace.list_names("persistentvolumeclaim") == {"persistentvolumeclaim/hub-db-dir"}
