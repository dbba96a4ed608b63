"""Sign in through a real OpenID Connect provider, by the generic class and by the one for Azure."""

from __future__ import annotations

import html
import os
import re
import subprocess
from pathlib import Path
from urllib.parse import urljoin

import pytest

HERE = Path(__file__).parent
TENANT = "0b5c0000-feed-4bad-8bad-000000000000"

GENERIC = """
c.JupyterHub.authenticator_class = "oauthenticator.generic.GenericOAuthenticator"
c.GenericOAuthenticator.client_id = "an-id"
c.GenericOAuthenticator.client_secret = "a-secret-of-some-length-for-the-tests"
c.GenericOAuthenticator.oauth_callback_url = c.JupyterHub.bind_url + "/hub/oauth_callback"
c.GenericOAuthenticator.authorize_url = "{provider}/{tenant}/oauth2/authorize"
c.GenericOAuthenticator.token_url = "{provider}/{tenant}/oauth2/token"
c.GenericOAuthenticator.userdata_url = "{provider}/userinfo"
c.GenericOAuthenticator.username_claim = "preferred_username"
c.GenericOAuthenticator.scope = ["openid"]
c.GenericOAuthenticator.login_service = "our provider"
c.Authenticator.admin_users = ["some-user"]
"""

# The documented example: administrators, and no rule that allows anybody else.
AZURE = """
import os
c.JupyterHub.authenticator_class = "oauthenticator.azuread.AzureAdOAuthenticator"
c.AzureAdOAuthenticator.oauth_callback_url = c.JupyterHub.bind_url + "/hub/oauth_callback"
c.AzureAdOAuthenticator.client_id = "an-id"
c.AzureAdOAuthenticator.client_secret = "a-secret-of-some-length-for-the-tests"
c.AzureAdOAuthenticator.admin_users = ["some-user"]
c.AzureAdOAuthenticator.tenant_id = os.environ.get("AAD_TENANT_ID")
c.AzureAdOAuthenticator.graph_url = "{provider}"
c.AzureAdOAuthenticator.scope = ["openid"]
"""
CONFIGS = {"generic": GENERIC, "azure": AZURE}


@pytest.fixture(scope="session")
def provider_modules(install_packages):
    return install_packages(HERE / "oidc")


@pytest.fixture
def provider(provider_modules, pick_port, tmp_path):
    """Start providers; they end with the test."""
    started = []

    def start(redirect_address, port):
        log = (tmp_path / "provider.log").open("wb")
        arguments = [
            str(port),
            "an-id",
            "a-secret-of-some-length-for-the-tests",
            redirect_address,
            TENANT,
        ]
        environment = {**os.environ, "MLHUB_TEST_NODE_MODULES": str(provider_modules)}
        started.append(
            subprocess.Popen(
                ["node", str(HERE / "oidc" / "provider.mjs"), *arguments],
                stdout=log,
                stderr=log,
                env=environment,
            )
        )

    yield start
    for process in started:
        process.kill()
        process.wait(10)


@pytest.fixture
def start_hub(hub, provider, pick_port):
    """Start a provider and a hub that uses it."""

    def start(kind, extra=""):
        port = pick_port()
        config = CONFIGS[kind].format(provider=f"http://127.0.0.1:{port}", tenant=TENANT)
        server = hub(config + extra, environment={"AAD_TENANT_ID": TENANT})
        provider(f"{server.url}/hub/oauth_callback", port)

        def answers():
            browser = server.browser()
            try:
                return (
                    browser.get(
                        f"http://127.0.0.1:{port}/.well-known/openid-configuration"
                    ).status_code
                    == 200
                )
            except OSError:
                return False

        server.wait_until(answers, "the provider to answer", 30)
        return server

    return start


def sign_in(server, name, session=""):
    """Press the button, type a name at the provider, consent; return the browser, which may have a
    session id, and the last answer.
    """
    browser = server.browser()
    if session:
        browser.cookies.set("jupyterhub-session-id", session, domain="127.0.0.1", path="/")
    page = browser.get("/hub/login").text
    button = re.search(r'href="([^"]*oauth_login[^"]*)"', page)
    assert button, page
    answer = browser.get(html.unescape(button.group(1)))
    for fields in ({"prompt": "login", "login": name, "password": "any"}, {"prompt": "consent"}):
        form = re.search(r'<form[^>]*action="([^"]*)"', answer.text)
        assert form, answer.text
        answer = browser.post(urljoin(answer.url, html.unescape(form.group(1))), data=fields)
    return browser, answer


@pytest.mark.parametrize("kind", ["generic", "azure"])
def test_the_documented_example_admits_administrators_only_and_says_what_to_do(start_hub, kind):
    server = start_hub(kind)
    warnings = [
        line
        for line in server.log.splitlines()
        if "no rule that lets anybody in but the administrators" in line
    ]
    assert len(warnings) == 1
    assert re.search(
        r"\(some-user\)\. Set c\.\w+OAuthenticator\.allow_all = True .*"
        r" DYNAMIC_WHITELIST_ENABLED=true",
        warnings[0],
    )
    assert "No allow config found" not in server.log
    boss, _ = sign_in(server, "some-user")
    assert boss.is_signed_in()
    assert boss.get("/hub/admin").status_code == 200
    stranger, answer = sign_in(server, "somebody-else")
    assert answer.status_code == 403
    assert not stranger.is_signed_in()


@pytest.mark.parametrize("kind", ["generic", "azure"])
def test_people_of_the_allow_list_get_in_without_another_rule(start_hub, tmp_path, kind):
    file = tmp_path / "list.txt"
    file.write_text("Listed\nsome-user\n")
    server = start_hub(kind, f"allow_list_file = {str(file)!r}\n")
    assert "no rule that lets anybody in" not in server.log
    listed, _ = sign_in(server, "listed")
    assert listed.is_signed_in()
    assert not sign_in(server, "unlisted")[0].is_signed_in()
    file.write_text("listed\n")
    assert not sign_in(server, "some-user")[0].is_signed_in(), "administrators are not exempt"
    file.unlink()
    assert not sign_in(server, "listed")[0].is_signed_in(), (
        "without the file the authenticator's own rules apply"
    )
    assert sign_in(server, "some-user")[0].is_signed_in()


def test_with_allow_all_everybody_of_the_provider_gets_in(start_hub):
    server = start_hub("azure", "c.AzureAdOAuthenticator.allow_all = True\n")
    assert "no rule that lets anybody in" not in server.log
    browser, _ = sign_in(server, "Somebody Else", session="fixed-by-mallory")
    assert browser.is_signed_in()
    assert [
        cookie.value for cookie in browser.cookies if cookie.name == "jupyterhub-session-id"
    ] != ["fixed-by-mallory"]
    assert "somebody else" in browser.get("/hub/home").text


def test_the_callback_refuses_a_state_that_this_browser_did_not_start(start_hub):
    server = start_hub("generic", "c.Authenticator.allow_all = True\n")
    browser = server.browser()
    answer = browser.get("/hub/oauth_callback?code=stolen&state=forged")
    assert 400 <= answer.status_code < 500
    assert not browser.is_signed_in()
