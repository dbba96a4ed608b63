"""The allow-list file decides who may log in, whatever the authenticator."""

from __future__ import annotations

import pytest
from jupyterhub.auth import Authenticator, DummyAuthenticator
from nativeauthenticator import NativeAuthenticator
from oauthenticator.azuread import AzureAdOAuthenticator
from traitlets.config import Config

from mlhub.errors import ConfigurationError
from mlhub.signin.allow_list import (
    AllowListMixin,
    read_allow_list,
    resolve_authenticator,
    with_allow_list,
)
from mlhub.signin.native.authenticator import MLHubNativeAuthenticator
from mlhub.signin.sessions import NewSessionMixin

GOOD = "correct horse 42"
LISTED = 'allow_list_file = "{directory}/list.txt"\n'
DUMMY = "c.JupyterHub.authenticator_class = 'dummy'\n"


def start(hub, tmp_path, config, content=None):
    if content is not None:
        (tmp_path / "list.txt").write_bytes(content)
    return hub(config + LISTED.format(directory=tmp_path))


def gets_in(server, name, password=GOOD):
    browser = server.browser()
    browser.log_in(name, password)
    return browser.is_signed_in()


def test_only_listed_people_get_in_although_everybody_is_allowed(hub, tmp_path):
    content = "\ufeffana\r\n\r\n  # a comment\r\n Bob \r\nc@example.org".encode()
    server = start(hub, tmp_path, DUMMY + "c.Authenticator.allow_all = True\n", content)
    assert [gets_in(server, name) for name in ("ana", "bob", "BOB", "c@example.org")] == [True] * 4
    assert [gets_in(server, name) for name in ("dora", "admin", "# a comment", "\ufeffana")] == [
        False
    ] * 4


def test_a_change_of_the_file_counts_from_the_next_login_on(hub, tmp_path):
    file = tmp_path / "list.txt"
    server = start(hub, tmp_path, DUMMY, b"ana\n")
    assert gets_in(server, "ana"), "listed people get in without any other rule"
    file.write_text("bob\n")
    assert [gets_in(server, "ana"), gets_in(server, "bob")] == [False, True]
    other = tmp_path / "other.txt"
    other.write_text("eve\n")
    other.replace(file)
    assert [gets_in(server, "ana"), gets_in(server, "bob"), gets_in(server, "eve")] == [
        False,
        False,
        True,
    ]


def test_without_the_file_the_authenticators_own_rules_apply(hub, tmp_path):
    server = start(hub, tmp_path, DUMMY + "c.Authenticator.allowed_users = {'ana'}\n")
    assert [gets_in(server, "ana"), gets_in(server, "bob"), gets_in(server, "admin")] == [
        True,
        False,
        True,
    ]
    (tmp_path / "list.txt").write_text("bob\n")
    assert [gets_in(server, "ana"), gets_in(server, "bob"), gets_in(server, "admin")] == [
        False,
        True,
        False,
    ]
    (tmp_path / "list.txt").unlink()
    assert [gets_in(server, "ana"), gets_in(server, "admin")] == [True, True]


def test_a_file_that_can_not_be_understood_lets_nobody_in_and_says_so(hub, tmp_path):
    file = tmp_path / "list.txt"
    server = start(hub, tmp_path, DUMMY + "c.Authenticator.allow_all = True\n", b"ana\xff\xfe\n")
    assert not gets_in(server, "ana")
    assert f"The allow-list {file} cannot be read" in server.log
    file.write_text("")
    assert not gets_in(server, "ana"), "an empty list names nobody"
    file.unlink()
    file.mkdir()  # what a bind mount of a missing file makes
    assert not gets_in(server, "ana")
    file.rmdir()
    file.write_text("ana")
    assert gets_in(server, "ana")


def test_blocked_people_stay_out_although_listed(hub, tmp_path):
    server = start(
        hub, tmp_path, DUMMY + "c.Authenticator.blocked_users = {'ana'}\n", b"ana\nbob\n"
    )
    assert [gets_in(server, "ana"), gets_in(server, "bob")] == [False, True]


def test_with_accounts_of_our_own_a_person_needs_both_the_account_and_the_line(hub, tmp_path):
    config = (
        "c.JupyterHub.authenticator_class = 'native'\nc.MLHubNativeAuthenticator.admin_password ="
        " 'quite a good one'\n"
    )
    server = start(hub, tmp_path, config, b"admin\nana\n")
    admin = server.admin()
    for name in ("ana", "bob"):
        server.browser().sign_up(name, GOOD)
    assert not gets_in(server, "ana"), "being listed does not authorize"
    for name in ("ana", "bob"):
        admin.manage("authorize", name, action="authorize")
    assert [
        gets_in(server, "ana"),
        gets_in(server, "bob"),
        gets_in(server, "ana", "a wrong guess"),
    ] == [True, False, False]


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "native",
        "nativeauthenticator.NativeAuthenticator",
        NativeAuthenticator,
        Config().JupyterHub.authenticator_class,
    ],
)
def test_every_way_to_name_nativeauthenticator_means_ours(value):
    found = resolve_authenticator(value)
    assert issubclass(found, MLHubNativeAuthenticator)
    assert issubclass(found, AllowListMixin)


@pytest.mark.parametrize(
    "value", ["dummy", "jupyterhub.auth.DummyAuthenticator", DummyAuthenticator]
)
def test_any_other_class_is_kept_under_the_list(value, tmp_path):
    found = resolve_authenticator(value, tmp_path / "list.txt")
    assert found.__mro__[1:4] == (NewSessionMixin, AllowListMixin, DummyAuthenticator)
    assert found.allow_list_path == tmp_path / "list.txt"
    again = resolve_authenticator(found, tmp_path / "other.txt")
    assert again.__mro__.count(AllowListMixin) == 1
    assert again.allow_list_path == tmp_path / "other.txt"


def test_a_sites_own_subclass_of_nativeauthenticator_gets_our_repairs_underneath():
    class SiteAuthenticator(NativeAuthenticator):
        def validate_username(self, username):
            return username.startswith("s-") and super().validate_username(username)

    found = resolve_authenticator(SiteAuthenticator)
    assert (
        found.__mro__.index(SiteAuthenticator)
        < found.__mro__.index(MLHubNativeAuthenticator)
        < found.__mro__.index(NativeAuthenticator)
    )
    assert found.authenticate is MLHubNativeAuthenticator.authenticate


@pytest.mark.parametrize("section", ["Authenticator", "OAuthenticator", "AzureAdOAuthenticator"])
def test_every_documented_section_still_reaches_the_composed_class(section):
    config = Config()
    config[section].admin_users = ["some-user"]
    config[section].client_id = "an-id"
    found = resolve_authenticator("oauthenticator.azuread.AzureAdOAuthenticator")(config=config)
    assert isinstance(found, AzureAdOAuthenticator)
    assert found.admin_users == {"some-user"}
    if section != "Authenticator":
        assert found.client_id == "an-id"


@pytest.mark.parametrize("value", ["no.such.Class", "no-such-name", "os.path.join", 42, dict])
def test_something_that_is_no_authenticator_is_refused_with_a_sentence(value):
    with pytest.raises(ConfigurationError, match=r"c\.JupyterHub\.authenticator_class = "):
        resolve_authenticator(value)


def test_a_class_whose_old_fashioned_rule_would_be_skipped_is_refused():
    class Old(DummyAuthenticator):
        def check_whitelist(self, username, authentication=None):
            return False

    with pytest.raises(
        ConfigurationError, match=r"Old\.check_whitelist .* Rename it to check_allowed"
    ):
        with_allow_list(Old, None)


async def test_an_authenticator_that_forbids_somebody_has_the_last_word(tmp_path):
    class Strict(Authenticator):
        async def check_allowed(self, username, authentication=None):
            raise PermissionError("wrong domain")

    (tmp_path / "list.txt").write_text("ana\n")
    strict = with_allow_list(Strict, tmp_path / "list.txt")()
    assert await strict.check_blocked_users("ana")
    with pytest.raises(PermissionError):
        await strict.check_allowed("ana")


def test_a_list_too_large_to_be_one_is_refused(tmp_path):
    file = tmp_path / "list.txt"
    with file.open("wb") as stream:
        stream.truncate(17 * 2**20)
    with pytest.raises(ConfigurationError, match="larger than 16 MiB"):
        read_allow_list(file)
    assert read_allow_list(tmp_path / "list.txt" / "below") is None
