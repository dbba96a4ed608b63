"""What becomes of each trait that a site may write: every one of upstream's is ruled on, and holds
to its ruling.
"""

from __future__ import annotations

import ast
import functools
import importlib
import re
from pathlib import Path

import pytest
from jupyterhub.proxy import ConfigurableHTTPProxy
from traitlets import Bool, Dict, Enum, Float, Int, List, Set, Tuple, Unicode, Union

from mlhub.backends.docker.spawner import MLHubDockerSpawner
from mlhub.errors import ConfigurationError
from mlhub.hub.app import MLHub
from mlhub.hub.layers.hub_rulings import JUPYTERHUB, PROXY, REACHES, REACHES_PROXY
from mlhub.hub.layers.rulings import Table, list_tables
from mlhub.signin.native.authenticator import MLHubNativeAuthenticator
from mlhub.signin.rulings import NATIVE
from mlhub.signin.rulings import REACHES as REACHES_SIGN_IN
from mlhub.traits import Outcome
from tests.support.site_file import SiteFile

ROOT = Path(__file__).parents[2]
TABLES = {table.upstream.rpartition(".")[2]: table for table in list_tables()}
KUBERNETES = {"EXECUTION_MODE": "k8s", "HUB_NAME": "lab-hub"}


@pytest.fixture
def site(tmp_path) -> SiteFile:
    return SiteFile(tmp_path)


def find_upstream(table: Table) -> type:
    module, _, name = table.upstream.rpartition(".")
    return getattr(importlib.import_module(module), name)


# every trait has a row, and every row is true to its word


@pytest.mark.parametrize("name", TABLES)
def test_every_trait_of_upstream_is_ruled_on_and_nothing_else(name):
    upstream = set(find_upstream(TABLES[name]).class_trait_names(config=True))
    assert upstream == set(TABLES[name].rulings)


def test_the_tables_are_those_of_the_classes_that_the_product_is_made_of():
    assert set(TABLES) == {
        "JupyterHub",
        "ConfigurableHTTPProxy",
        "DockerSpawner",
        "KubeSpawner",
        "Authenticator",
        "NativeAuthenticator",
    }


ROWS = [
    pytest.param(name, trait, ruling, id=f"{name}.{trait}")
    for name, table in TABLES.items()
    for trait, ruling in table.rulings.items()
]


@functools.cache
def read_module(file: Path) -> tuple[str, set[str]]:
    """Return the source of a file and the names of its functions."""
    source = file.read_text()
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return source, {each.name for each in ast.walk(ast.parse(source)) if isinstance(each, kinds)}


def find_test(node: str) -> str:
    """Return the source of the file of a test that is there."""
    file, _, function = node.partition("::")
    assert (ROOT / file).is_file(), node
    source, functions = read_module(ROOT / file)
    assert function in functions, node
    return source


@pytest.mark.parametrize(("name", "trait", "ruling"), ROWS)
def test_a_row_names_its_reason_or_a_test_that_is_there(name, trait, ruling):
    if ruling.outcome is not Outcome.HONORED:
        assert ruling.sentence.endswith(".")
    if ruling.outcome is Outcome.WITHOUT_EFFECT:
        return
    source = find_test(ruling.test)
    # These go through all rows of a table by themselves.
    goes_through_tables = ruling.test in (REACHES, REACHES_PROXY, REACHES_SIGN_IN) or (
        ruling.test.endswith("test_a_refused_trait_is_refused_with_its_line_and_the_cure")
    )
    assert goes_through_tables or re.search(rf"\b{trait}\b", source), f"{ruling.test}: {trait}"


# what is honored arrives

HUB_VALUES = {
    "custom_scopes": "{'custom:a': {'description': 'b'}}",
    "extra_log_handlers": "[__import__('logging').NullHandler()]",
    "allow_existing_invalid_named_servers": "'autorename'",
    "cookie_secret": "b'0' * 32",
    "db_url": "'postgresql://hub@db/hub'",
    "default_url": "'/services/first/'",
    "extra_handlers": "[('/mine', object)]",
    "hub_routespec": "'/hub/'",
    "named_server_limit_per_user": "3",
    "pid_file": "'/data/hub.pid'",
    "public_url": "'https://hub.example/'",
    "subdomain_hook": "'legacy'",
    "trusted_downstream_ips": "['192.0.2.7']",
    "user_redirect_hook": "print",
    "load_groups": "{'a': {'users': ['ann']}}",
    "tornado_settings": "{'headers': {'A': 'b'}}",
    "logging_config": "{'loggers': {}}",
}
SIGN_IN_VALUES = {
    "secret_key": "'a long random text'",
    "self_approval_email": "('a@example.org', 'b', 'c {approval_url}')",
    "whitelist": "{'ann'}",
    "post_auth_hook": "print",
    "reconcile_auth_state_hook": "print",
}


def make_value(trait) -> str:
    """Write a value that is not the default one."""
    kinds = [
        (Bool, str(not trait.default_value)),
        (Int, "7"),
        (Float, "7.5"),
        (Unicode, "'something'"),
        (Dict, "{'a': 'b'}"),
        (List, "[{'name': 'a'}]"),
        (Set, "{'ann'}"),
        (Tuple, "('a',)"),
    ]
    for kind, value in kinds:
        if isinstance(trait, kind):
            return value
    assert not isinstance(trait, Union | Enum), f"write a value for {trait.name}"
    return "'something'"


def list_reaching(rulings, test: str) -> list[str]:
    return [trait for trait, ruling in rulings.items() if ruling.test == test]


def write(name: str, values: dict[str, str]) -> str:
    return "\n".join(f"c.{name}.{trait} = {text}" for trait, text in values.items())


def test_what_a_site_writes_of_the_hub_reaches_it(site):
    traits = MLHub.class_traits()
    values = {
        trait: HUB_VALUES.get(trait) or make_value(traits[trait])
        for trait in list_reaching(JUPYTERHUB, REACHES)
    }
    hub = MLHub(config=site(write("JupyterHub", values)))
    for trait in values:
        found = getattr(hub, trait)
        # JupyterHub makes a function of the name of one.
        found = "legacy" if trait == "subdomain_hook" and callable(found) else found
        if trait != "extra_log_handlers":
            assert found == hub.config.JupyterHub[trait], trait
        assert found != traits[trait].default_value, trait
    assert site.warnings == []


def test_what_a_site_writes_of_the_proxy_reaches_it(site):
    values = {"concurrency": "3", "extra_routes": "{'/x/': 'http://x:1'}"}
    assert list(values) == list_reaching(PROXY, REACHES_PROXY)
    c = site(write("ConfigurableHTTPProxy", values))
    proxy = ConfigurableHTTPProxy(config=c, app=MLHub(config=c), auth_token="any")
    assert (proxy.concurrency, proxy.extra_routes) == (3, {"/x/": "http://x:1"})


def test_what_a_site_writes_of_sign_in_reaches_it(site, monkeypatch):
    monkeypatch.setenv("JUPYTERHUB_CRYPT_KEY", "00" * 32)
    traits = MLHubNativeAuthenticator.class_traits()
    values = {
        trait: SIGN_IN_VALUES.get(trait) or make_value(traits[trait])
        for trait in list_reaching(NATIVE, REACHES_SIGN_IN)
    }
    c = site(write("NativeAuthenticator", values))
    native = c.JupyterHub.authenticator_class(config=c, add_new_table=False)
    for trait, text in values.items():
        name = "allowed_users" if trait == "whitelist" else trait
        # JupyterHub asks for an e-mail address where people authorize themselves by one.
        assert getattr(native, name) == eval(text), trait
    assert site.warnings == []


# what is refused is refused at the hub's start

REFUSED_VALUES = {
    "profile_list": "[{'display_name': 'Large'}]",
    "use_internal_ip": "False",
    "delete_pvc": "False",
    "proxy_cmd": "['chp', '--log-level=debug']",
    "command": "['chp', '--log-level=debug']",
    "log_level": "'debug'",
    "tls": "True",
}


@pytest.mark.parametrize("name", sorted(set(TABLES) - {"Authenticator"}))
def test_a_refused_trait_is_refused_with_its_line_and_the_cure(site, name):
    traits = find_upstream(TABLES[name]).class_traits()
    refused = {
        trait: ruling
        for trait, ruling in TABLES[name].rulings.items()
        if ruling.outcome is Outcome.REFUSED and not ruling.is_compared
    }
    values = {trait: REFUSED_VALUES.get(trait) or make_value(traits[trait]) for trait in refused}
    mode = KUBERNETES if name == "KubeSpawner" else {}
    with pytest.raises(ConfigurationError) as refusal:
        site(write(name, values), **mode)
    told = str(refusal.value).splitlines()
    assert len(told) == len(refused)
    for number, (trait, ruling) in enumerate(refused.items(), start=1):
        start = f"jupyterhub_user_config.py, line {number}, sets c.{name}.{trait} to "
        (sentence,) = [each for each in told if each.startswith(start)]
        assert sentence.endswith(ruling.sentence)
    # What asks for nothing is fine.
    for number in range(max(len(ruling.allows) for ruling in refused.values())):
        allowed = {
            trait: repr(ruling.allows[number])
            for trait, ruling in refused.items()
            if number < len(ruling.allows)
        }
        site(write(name, allowed), **mode)


@pytest.mark.parametrize(
    ("line", "words", "twin"),
    [
        ("c.DockerSpawner.prefix = 'My_Site'", "cannot begin a DNS label", "'site'"),
        ("c.DockerSpawner.name_template = '{username}'", "{servername}",
         "'{prefix}-{username}--{servername}'"),
        ("c.DockerSpawner.extra_host_config = {'security_opt': ['no-new-privileges:false']}",
         "takes no-new-privileges away", "{'security_opt': ['apparmor=mine']}"),
        ("c.DockerSpawner.extra_host_config = {'privileged': True}", "privileged",
         "{'devices': ['/dev/fuse']}"),
        ("c.Spawner.extra_host_config = {'cap_add': ['NET_ADMIN']}", "NET_ADMIN",
         "{'cap_add': ['SYS_PTRACE']}"),
        ("c.DockerSpawner.extra_host_config = {'memlimit': '2g'}", "not understood",
         "{'mem_limit': '2g'}"),
        ("c.DockerSpawner.extra_host_config = {'pid_mode': 'host'}", "others' processes",
         "{'pid_mode': ''}"),
        ("c.DockerSpawner.extra_host_config = {'binds': ['/a:/a']}", "c.DockerSpawner.volumes",
         "{'binds': []}"),
        ("c.DockerSpawner.extra_create_kwargs = {'usr': 'root'}", "'usr'", "{'user': 'root'}"),
        ("c.DockerSpawner.extra_create_kwargs = {'host_config': {'Privileged': True}}",
         "Write c.DockerSpawner.extra_host_config.", "{'stop_signal': 'SIGINT'}"),
        ("c.DockerSpawner.extra_create_kwargs = {'name': 'one-for-all'}",
         "Write c.DockerSpawner.name_template.", "{'domainname': 'lab'}"),
        ("c.DockerSpawner.extra_create_kwargs = {'image': 'own:1'}",
         "Write c.DockerSpawner.image.", "{'platform': 'linux/amd64'}"),
        ("c.JupyterHub.trusted_downstream_ips = ['10.0.0.0/8']", "MLHUB_TRUSTED_PROXIES",
         "['10.0.0.1']"),
        ("c.NativeAuthenticator.secret_key = 'short'", "at least 8", "'a long random text'"),
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_had_is_refused_with_its_line(site, line, words, twin):
    with pytest.raises(ConfigurationError) as refusal:
        site(f"\n\n{line}")
    assert str(refusal.value).startswith("jupyterhub_user_config.py, line 3, sets c.")
    assert words in str(refusal.value)
    site(f"{line.partition(' = ')[0]} = {twin}")


def test_cookies_that_every_workspace_would_be_sent_are_refused(site):
    line = "c.JupyterHub.cookie_host_prefix_enabled = "
    with pytest.raises(
        ConfigurationError, match=r"line 1, .*act for its visitor.*MLHUB_SUBDOMAIN_HOST"
    ):
        site(f"{line}True")
    site(f"{line}False")
    c = site(f"{line}True", MLHUB_SUBDOMAIN_HOST="https://hub.example.org")
    assert MLHub(config=c).cookie_host_prefix_enabled is True


IN_PLACE = [
    # A list, dict or set of upstream's, and one that we have filled before the site.
    ("c.DockerSpawner.extra_host_config.update({'privileged': True})", "the whole host",
     "c.DockerSpawner.extra_host_config.update({'pids_limit': 7})"),
    ("c.DockerSpawner.extra_create_kwargs.update({'name': 'one'})", "c.DockerSpawner.name_template",
     "c.DockerSpawner.extra_create_kwargs.update({'user': '7'})"),
    ("c.JupyterHub.trusted_downstream_ips.append('10.0.0.0/8')", "MLHUB_TRUSTED_PROXIES",
     "c.JupyterHub.trusted_downstream_ips.append('10.0.0.1')"),
    ("c.ConfigurableHTTPProxy.command.append('--log-level=debug')", "ADDITIONAL_ARGS",
     "c.ConfigurableHTTPProxy.extra_routes.update({'/x/': 'http://x:1'})"),
    ("c.JupyterHub.admin_users.add('ann')", "Write c.Authenticator.admin_users",
     "c.Authenticator.admin_users.add('ann')"),
    ("c.JupyterHub.services.append('culler')", "an element of the 'services' trait of a MLHub"
     " expected a dict. Correct it.",
     "c.JupyterHub.services.append({'name': 'a', 'api_token': '0' * 32})"),
    ("c.Spawner.group_overrides.update({'a': {'spawner_override': {'volumns': {}}}})",
     "Did you mean volumes?",
     "c.Spawner.group_overrides.update({'a': {'groups': ['a'], 'spawner_override': {}}})"),
    # What does not fit the first value: traitlets would drop it without a word, or break.
    ("c.DockerSpawner.volumes.append('a:/b')", "at first it is a dict",
     "c.DockerSpawner.volumes.update({'a': '/b'})"),
    ("c.DockerSpawner.volumes.update({'a:/b'})", "at first it is a dict",
     "c.DockerSpawner.volumes.update([('a', '/b')])"),
    ("c.DockerSpawner.mounts.update({'a': '/b'})", "at first it is a list",
     "c.DockerSpawner.mounts.append({'source': 'a', 'target': '/b', 'type': 'volume'})"),
    ("c.Authenticator.allowed_users.append('ann')", "at first it is a set",
     "c.Authenticator.allowed_users.add('ann')"),
    ("c.DockerSpawner.cmd.append('--debug')", "at first it is a NoneType",
     "c.DockerSpawner.args.append('--debug')"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "words", "twin"), IN_PLACE)
def test_what_is_added_in_place_is_held_to_the_same(site, line, words, twin):
    with pytest.raises(ConfigurationError) as refusal:
        site(f"\n\n{line}")
    (told,) = str(refusal.value).splitlines()
    assert told.startswith("jupyterhub_user_config.py, line 3, sets c.")
    assert words in told
    site(twin)


def test_profiles_that_are_added_in_place_are_refused_in_a_cluster_too(site):
    with pytest.raises(ConfigurationError, match=r"line 1, sets c\.KubeSpawner\.profile_list"):
        site("c.KubeSpawner.profile_list.append({'display_name': 'Large'})", **KUBERNETES)
    site("c.KubeSpawner.tolerations.append({'key': 'gpu'})", **KUBERNETES)


def test_what_is_added_in_place_arrives_beside_what_another_section_says(site):
    c = site("c.Spawner.env_keep = ['A']\nc.DockerSpawner.env_keep.append('B')")
    assert MLHubDockerSpawner(config=c).env_keep == ["A", "B"]


def test_a_line_that_only_looks_adds_nothing(site):
    site("c.ConfigurableHTTPProxy.command\nprint(c.DockerSpawner.cmd)")
    assert site.warnings == []


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("{'use_internal_ip': False}", "never by a port of the host"),
        ("{'prefix': 'My_Site'}", "cannot begin a DNS label"),
        ("{'volumns': {}}", "Did you mean volumes?"),
    ],
)
def test_what_a_group_would_get_is_looked_at_as_what_all_get(site, override, words):
    line = "c.Spawner.group_overrides = {'big': {'groups': ['a'], 'spawner_override': %s}}"
    with pytest.raises(
        ConfigurationError, match=r"line 1, .*c\.Spawner\.group_overrides"
    ) as refusal:
        site(line % override)
    assert "'big' sets " in str(refusal.value)
    assert words in str(refusal.value)
    site(line % "{'mem_limit': '8G', 'prefix': 'big', 'environment': {'A': 'b'}}")


def test_names_of_pods_that_two_people_could_share_are_refused_with_the_line(site):
    with pytest.raises(ConfigurationError, match=r"line 1, .*pod_name_template.*\{user_server\}"):
        site("c.KubeSpawner.pod_name_template = 'ws-{username}'", **KUBERNETES)
    site("c.KubeSpawner.pod_name_template = 'ws-{user_server}'", **KUBERNETES)


def test_who_lets_people_authorize_themselves_needs_a_key(site):
    line = "c.NativeAuthenticator.allow_self_approval_for = '^[^@]+@example[.]org$'\n"
    with pytest.raises(ConfigurationError, match=r"needs c\.NativeAuthenticator\.secret_key"):
        site(line)
    site(line + "c.NativeAuthenticator.secret_key = 'a long random text'")


def test_who_keeps_what_providers_tell_needs_a_key_for_it(site, monkeypatch):
    monkeypatch.delenv("JUPYTERHUB_CRYPT_KEY", raising=False)
    line = "c.Authenticator.enable_auth_state = True\n"
    with pytest.raises(ConfigurationError, match="--env JUPYTERHUB_CRYPT_KEY="):
        site(line)
    site("c.Authenticator.enable_auth_state = False")
    site(line + "c.CryptKeeper.keys = ['00' * 32]")
    monkeypatch.setenv("JUPYTERHUB_CRYPT_KEY", "00" * 32)
    site(line)


def test_all_that_is_wrong_with_a_file_is_told_at_once_each_with_its_line(site):
    text = """
c.JupyterHub.ssl_key = "/k"
c.JupyterHub.hub_port = 9999
c.JupyterHub.admin_access = "of course"
c.JupyterHub.authenticator_class = "ldapauthenticator.LDAPAuthenticator"
c.Spawner.mem_limit = "2Q"
c.DockerSpawner.prefix = "My_Site"
c.JupyterHub.services = [{"name": "culler", "command": ["no-such-program"]}]
c.ConfigurableHTTPProxy.auth_token = "hunter2"
"""
    with pytest.raises(ConfigurationError) as refusal:
        site(text, CONFIGPROXY_AUTH_TOKEN="another-one")
    told = str(refusal.value)
    assert len(told.splitlines()) == 8
    for line, name in ((2, "ssl_key"), (3, "hub_port"), (4, "admin_access"), (6, "mem_limit"),
                       (7, "prefix"), (9, "auth_token")):  # fmt: skip
        assert re.search(rf"line {line}, sets c\.\w+\.{name} to", told), told
    assert "ldapauthenticator" in told
    assert "no-such-program" in told
    assert "hunter2" not in told


def test_a_value_of_the_wrong_type_is_refused_and_a_secret_is_not_shown(site):
    with pytest.raises(ConfigurationError, match=r"line 1, .*'volumes' trait .* expected a dict"):
        site("c.DockerSpawner.volumes = ['a:/b']")
    with pytest.raises(ConfigurationError) as refusal:
        site("c.NativeAuthenticator.recaptcha_secret = ['hunter2']")
    assert "hunter2" not in str(refusal.value)
    for value in ("{'name': 'a', 'api_token': 'hunter2'}", "['hunter2']", "[['hunter2']]"):
        with pytest.raises(ConfigurationError, match=r"but .* expected a (list|dict)\.") as refusal:
            site(f"c.JupyterHub.services = {value}")
        assert "hunter2" not in str(refusal.value)


@pytest.mark.parametrize("trait", ["services", "load_roles", "template_paths"])
@pytest.mark.parametrize("value", ["3", "'/mine'"])
def test_a_value_that_nothing_can_be_joined_to_is_refused_before_anything_breaks(
    site, trait, value
):
    with pytest.raises(
        ConfigurationError, match=rf"line 1, sets c\.JupyterHub\.{trait} to {value}"
    ):
        site(f"c.JupyterHub.{trait} = {value}", MLHUB_CULL_ENABLED="true")


# what has no effect is said


def test_what_has_no_effect_is_a_warning_with_its_line_and_reason(site):
    site("c.DockerSpawner.host_ip = '0.0.0.0'\nc.JupyterHub.admin_access = True")
    first, second = sorted(site.warnings)
    assert first.startswith(
        "jupyterhub_user_config.py, line 1: c.DockerSpawner.host_ip has no effe"
    )
    assert "published on the host" in first
    assert second.startswith("jupyterhub_user_config.py, line 2: c.JupyterHub.admin_access has no")


@pytest.mark.parametrize(
    ("line", "cure"),
    [
        ("c.DockerSpawner.volumns = {}", "Did you mean c.DockerSpawner.volumes?"),
        ("c.Spawner.workspace_image = []", "Did you mean c.Spawner.workspace_images?"),
        (
            "c.JupyterHub.alow_named_servers = True",
            "Did you mean c.JupyterHub.allow_named_servers?",
        ),
        ("c.Authenticator.admin_user = set()", "Did you mean c.Authenticator.admin_users?"),
        ("c.NativeAuthenticator.opensignup = True", "Did you mean c.NativeAuthenticator.open_sign"),
        ("c.DockerSpawner.zzz.append(1)", "Correct it, or remove the line."),
        ("c.DokerSpawner.image = 'a'", "Did you mean c.DockerSpawner?"),
        ("c.Custom.tenant = 'seven'", "unless code of your own reads it"),
        ("c.ServerApp.port = 1", "belongs into the workspace's own file"),
        ("c.CryptKeeper.key = 'a'", "Did you mean c.CryptKeeper.keys?"),
        ("c.KubeSpawner.image = 'a'", "this hub uses MLHubDockerSpawner."),
        ("c.PAMAuthenticator.service = 'a'", "this hub uses "),
        ("setattr(c.JupyterHub, 'alow_named_servers', True)", "allow_named_servers?"),
    ],
)
def test_what_no_class_of_the_hub_knows_is_a_warning_with_the_nearest_name(site, line, cure):
    site(f"\n{line}")
    (warning,) = site.warnings
    assert cure in warning
    assert line.startswith("setattr") or warning.startswith("jupyterhub_user_config.py, line 2: c.")


def test_an_ordinary_file_is_no_warning(site):
    site("""
c.CryptKeeper.keys = []
c.Spawner.environment.update({"A": "1"})
c.Spawner.workspace_images = [c.Spawner.image]
c.MLHubDockerSpawner.min_free_disk = "2G"
c.DockerSpawner.volumes = {"shared": "/shared"}
c.JupyterHub.template_paths.append("/mine")
c.MLHub.max_body_size = 8 * 2**20
c.NativeAuthenticator.open_signup = True
""")
    assert site.warnings == []


def test_a_form_of_the_sites_own_whose_fields_nobody_names_is_a_warning(site):
    site("c.Spawner.options_form = '<input name=course>'")
    assert "c.Spawner.extra_options names none of its fields" in site.warnings[0]
    site("c.Spawner.options_form = '<input name=course>'\nc.Spawner.extra_options = ['course']")
    assert site.warnings == []


def test_what_the_charts_values_set_is_no_line_of_the_sites(site, tmp_path):
    (tmp_path / "config").mkdir()
    values = tmp_path / "config" / "values.yaml"
    values.write_text("""
Release: {Namespace: team}
singleuser:
  image: {name: own, tag: "1", pullPolicy: Always}
  memory: {guarantee: 1G, limit: 2G}
  cpu: {guarantee: 0.5}
  storage: {capacity: 5Gi}
  extraLabels: {a: b}
""")
    chart = {**KUBERNETES, "MLHUB_CHART_VALUES": str(values)}
    c = site("c.Spawner.mem_limit = '4G'", **chart)
    assert (c.Spawner.mem_guarantee, c.Spawner.mem_limit) == ("1G", "4G")
    assert site.warnings == []
    with pytest.raises(ConfigurationError) as refusal:
        site("c.KubeSpawner.namespace = 'other'\nc.KubeSpawner.delete_pvc = False", **chart)
    assert len(str(refusal.value).splitlines()) == 2
