"""In which language a page of the real hub is: that of the request, whoever else asks meanwhile."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

GOOD = "correct horse 42"
CONFIG = """
c.MLHubNativeAuthenticator.admin_password = "quite a good one"
own = Path(c.JupyterHub.cookie_secret_file).parent / "templates"
own.mkdir(exist_ok=True)
(own / "404.html").write_text(
    '{% extends "page.html" %}'
    '{% block main %}<p id="own">Our own: {{ _("Sign in") }}</p>{% endblock %}'
)
c.JupyterHub.template_paths.insert(0, str(own))
"""
ENGLISH, GERMAN = ("en", "Sign in"), ("de", "Anmelden")


@pytest.fixture(scope="module")
def hub(module_workspace_hub):
    return module_workspace_hub(CONFIG)


@pytest.fixture(scope="module")
def ann(hub):
    return hub.person("ann", GOOD, hub.admin())


def ask(client: requests.Session, path: str, language: str | None) -> requests.Response:
    headers = {"Accept-Language": language} if language is not None else {}
    return client.get(path, headers=headers)


def read_language(answer: requests.Response) -> tuple[str, str]:
    """Return what the page says of itself, and in which language its heading is."""
    language = re.search(r'<html lang="([^"]*)">', answer.text)
    heading = re.search(r"<h1[^>]*>\s*([^<]*?)\s*</h1>", answer.text)
    assert language, answer.text[:500]
    assert heading, answer.text[:500]
    return language[1], heading[1]


@pytest.mark.parametrize(
    ("language", "shown"),
    [
        (None, ENGLISH),
        ("en", ENGLISH),
        ("de", GERMAN),
        ("de-AT;q=0.8", GERMAN),
        ("fr-FR, de;q=0.4, en;q=0.3", GERMAN),
        ("fr", ENGLISH),
        ("*", ENGLISH),
    ],
)
def test_the_sign_in_page_is_in_the_browsers_language(hub, language, shown):
    answer = ask(hub.browser(), "/hub/login", language)
    assert answer.status_code == 200
    assert read_language(answer) == shown
    assert "Accept-Language" in answer.headers["Vary"]


@pytest.mark.parametrize(
    "language",
    [
        "<script>alert(1)</script>",
        '"><img src=x onerror=alert(1)>',
        "../../../../etc/passwd",
        "{{ 7 * 7 }}",
        "de\t\x7f",
        "de;q=" + "9" * 5000,
        "x" * 100_000,
        "x," * 20_000 + "de",
    ],
)
def test_a_hostile_header_gets_the_english_page_and_nothing_of_itself(hub, language):
    # At the hub itself: of the longest ones a proxy hands nothing on.
    answer = ask(hub.browser(), f"http://127.0.0.1:{hub.hub_port}/hub/login", language)
    assert answer.status_code in (200, 400)  # HTTP knows no such character
    assert "alert(1)" not in answer.text
    assert "49" not in answer.text[:200]
    if answer.status_code == 200:
        assert read_language(answer) == ENGLISH
    assert read_language(ask(hub.browser(), "/hub/login", "de")) == GERMAN


def test_two_requests_at_once_have_each_their_own_language(hub):
    def look(language: str) -> set[tuple[str, str]]:
        browser = hub.browser()  # one connection, as a browser keeps it
        return {read_language(ask(browser, "/hub/login", language)) for _ in range(25)}

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(look, ["de", "en", "de", "fr"]))
    assert found == [{GERMAN}, {ENGLISH}, {GERMAN}, {ENGLISH}]


def test_one_connection_may_change_its_language(hub):
    browser = hub.browser()
    for language, shown in (("de", GERMAN), (None, ENGLISH), ("de", GERMAN), ("fr", ENGLISH)):
        assert read_language(ask(browser, "/hub/login", language)) == shown


def test_pages_of_a_person_and_of_an_error_are_german_and_their_scripts_too(hub, ann):
    answer = ask(ann, "/hub/home", "de")
    assert read_language(answer) == ("de", "Ihre Workspaces")
    for text in ("Papierkorb", "Gestoppt", "Standard-Workspace", "Zum Inhalt springen"):
        assert text in answer.text
    texts = re.search(
        r'<script id="mlhub-texts" type="application/json">(.*?)</script>', answer.text
    )
    assert texts
    assert json.loads(texts[1])["The default workspace"] == "Der Standard-Workspace"
    assert read_language(ask(ann, "/hub/admin/checklist", "de")) == ("de", "Nicht erlaubt")
    english = ask(ann, "/hub/home", "en")
    assert read_language(english) == ("en", "Your workspaces")
    assert "mlhub-texts" not in english.text, "English scripts need no texts"
    assert read_language(ask(ann, "/hub/admin/checklist", "en")) == ("en", "Not allowed")


def test_the_form_of_options_is_german_and_what_is_typed_stays_what_it_is(hub, ann):
    page = ask(ann, "/hub/spawn", "de").text
    for text in ("Standard-Workspace starten", "CPU-Kerne", "Arbeitsspeicher", "Weitere Optionen"):
        assert text in page
    token = ann.xsrf("/hub/home")
    answer = ann.post(
        "/hub/spawn",
        data={"_xsrf": token, "cpu_limit": "<script>alert(1)</script>"},
        headers={"Accept-Language": "de"},
    )
    assert "So lässt sich das nicht starten" in answer.text
    assert "<script>alert(1)" not in answer.text


def test_the_rest_api_answers_in_english_whatever_a_program_prefers(hub):
    program = hub.service()
    program.headers["Accept-Language"] = "de"
    answer = program.start("ann", {"cpu_limit": "much"})
    assert answer.status_code == 400
    assert "cpu_limit='much' is not" in answer.json()["message"]
    assert "Accept-Language" not in answer.headers.get("Vary", "")


PAYLOAD = "<script>alert(1)</script>%s"


def test_what_is_wrong_with_a_form_is_told_in_the_readers_language(hub, ann):
    def send(path: str, language: str, **fields: str) -> requests.Response:
        data = {"_xsrf": ann.xsrf("/hub/home"), **fields}
        return ann.post(path, data=data, headers={"Accept-Language": language})

    for path, fields, english, german in (
        ("/hub/spawn", {"cpu_limit": PAYLOAD}, "is not a number", "ist keine Zahl"),
        ("/hub/spawn", {"env": "PATH=x"}, "May not set PATH", "Darf PATH nicht setzen"),
        ("/hub/new", {"name": ""}, "Enter a name.", "Geben Sie einen Namen ein."),
        ("/hub/ssh-keys", {"key": "x"}, ".pub file", ".pub-Datei"),
    ):
        shown = {language: send(path, language, **fields).text for language in ("en", "de")}
        assert english in shown["en"], path
        assert german in shown["de"], path
        assert english not in shown["de"], path
        assert "<script>alert" not in shown["de"]
        assert "<script>alert" not in shown["en"]


def test_an_errors_page_and_the_answer_to_a_pages_script_are_german(ann):
    page, told = "/hub/ssh-access/ann", "Only an administrator may hand out workspaces by SSH."
    assert "Workspaces über SSH vergeben darf nur ein Administrator." in ask(ann, page, "de").text
    assert told in ask(ann, page, "en").text
    path, told = "/hub/api/users/ann/servers/none/card", "There is no such workspace."
    script = ask(ann, path, "de")
    assert (script.status_code, script.json()["message"]) == (
        404,
        "Diesen Workspace gibt es nicht.",
    )
    assert ask(ann, path, "en").json()["message"] == told


def test_the_record_names_what_was_done_in_the_readers_language(hub, ann):
    row = r'class="text-break">\s*(%s)\b'
    ann.post(
        "/hub/login", data={"username": "ann", "password": GOOD, "_xsrf": ann.xsrf("/hub/home")}
    )
    assert re.search(row % "Sign in", ask(ann, "/hub/record", "en").text)
    german = ask(ann, "/hub/record", "de").text
    assert re.search(row % "Anmelden", german)
    assert not re.search(row % "Sign in", german)


def test_a_sites_own_template_keeps_its_words_within_the_frame_of_the_readers_language(hub):
    for language, home in (("de", "Startseite"), ("en", "Home")):
        page = ask(hub.browser(), "/hub/no-such-page", language).text
        own = {"de": "Our own: Anmelden", "en": "Our own: Sign in"}[language]
        assert f'<p id="own">{own}</p>' in page
        assert f'alt="{home}"' in page
