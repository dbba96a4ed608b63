"""Texts of pages: each is translated into each language, and none stands in a template alone."""

from __future__ import annotations

import json
import math
import re
import string
from pathlib import Path

import jupyterhub
import pytest
from jinja2 import DictLoader, Environment

from mlhub.errors import ConfigurationError
from mlhub.policy.disk import DiskUse
from mlhub.policy.quota import describe_totals
from mlhub.texts import MAX_HEADER, Languages, PageTexts, Text, join, translate
from tests.support.texts import (
    ROOT,
    SCRIPTS,
    TEMPLATES,
    extract_from_python,
    extract_from_scripts,
    extract_from_templates,
    find_raw_sentences_of_a_script,
    find_raw_texts,
    list_templates,
)

FOLDER = ROOT / "resources" / "texts"
CATALOGS = sorted(FOLDER.glob("*.json"))
LANGUAGES = Languages(FOLDER)


@pytest.fixture(autouse=True)
def english():
    """A test that speaks another language leaves none of it to the next one."""
    LANGUAGES.speak("en")
    yield
    LANGUAGES.speak("en")


def read(catalog: Path) -> dict:
    return json.loads(catalog.read_text("utf-8"))


def list_forms(translation) -> list[str]:
    return translation if isinstance(translation, list) else [translation]


def test_there_is_a_language_beside_english():
    assert [path.stem for path in CATALOGS] == ["de"]
    assert len(extract_from_templates()) > 400
    assert len(extract_from_scripts()) > 50


@pytest.mark.parametrize("catalog", CATALOGS, ids=lambda path: path.stem)
def test_every_text_of_pages_is_translated_and_nothing_else_is(catalog):
    wanted = set(extract_from_templates()) | extract_from_python()
    there = read(catalog)["pages"]
    assert sorted(wanted - set(there)) == [], "these lack a translation"
    assert sorted(set(there) - wanted) == [], "nothing says these any more"


@pytest.mark.parametrize("catalog", CATALOGS, ids=lambda path: path.stem)
def test_every_text_of_scripts_is_translated_and_nothing_else_is(catalog):
    wanted, there = extract_from_scripts(), read(catalog)["scripts"]
    assert sorted(wanted - set(there)) == [], "these lack a translation"
    assert sorted(set(there) - wanted) == [], "nothing says these any more"


def list_holes(text: str) -> list[str]:
    """List the values that a text takes, and its markup, whatever the order."""
    return sorted(re.findall(r"%\(\w+\)s|%%|\{\w+\}|<[^>]*>", text))


@pytest.mark.parametrize("catalog", CATALOGS, ids=lambda path: path.stem)
def test_a_translation_takes_the_values_and_the_markup_of_its_text(catalog):
    wrong = {}
    model = read(catalog)
    for one, translation in (*model["pages"].items(), *model["scripts"].items()):
        for form in list_forms(translation):
            assert form.strip(), f"{one!r} has an empty translation"
            # A quotation mark or bracket beyond these would end an attribute, or begin a tag.
            rest = re.sub(r"<[^>]*>", "", form)
            if list_holes(form) != list_holes(one) or any(each in rest for each in '"<>`'):
                wrong[one] = form
            if any(each in form for each in "&") and "&" not in one:
                wrong[one] = form
    assert wrong == {}


@pytest.mark.parametrize("catalog", CATALOGS, ids=lambda path: path.stem)
def test_a_text_with_a_number_has_the_forms_that_its_language_asks_for(catalog):
    model = read(catalog)
    language = LANGUAGES.catalogs[catalog.stem]
    forms = 1 + max(language.choose_form(number) for number in range(1000))
    plurals = {one for one, many in extract_from_templates().items() if many}
    assert {one for one, each in model["pages"].items() if isinstance(each, list)} == plurals
    assert {one for one in plurals if len(model["pages"][one]) != forms} == set()


def test_a_translated_file_is_sorted_so_that_changes_beside_each_other_merge():
    for catalog in CATALOGS:
        model = read(catalog)
        for part in ("pages", "scripts"):
            assert list(model[part]) == sorted(model[part]), f"{catalog.name}, {part}"


@pytest.mark.parametrize("name", list_templates())
def test_a_template_shows_no_text_that_nobody_translates(name):
    assert find_raw_texts((TEMPLATES / name).read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "<p>Two words</p>",
        "<p>{{ name }} word</p>",
        "<p>{% if name %}Word{% endif %}</p>",
        '<input placeholder="Word">',
        '<a aria-label="{{ name }} of">x</a>',
        '<p>{{ "Two words" if name }}</p>',
        '{% set what = "Word" %}{{ what }}',
        '{{ call("id", "Label") }}',
        '{{ _("%(what)s", what="the other") }}',
    ],
)
def test_the_look_for_texts_finds_one(source):
    assert find_raw_texts(source) != []


@pytest.mark.parametrize(
    "source",
    [
        '<p class="Two words">{{ _("Two words") }} · JupyterHub</p>',
        "<p>{% trans %}Two words of {{ name }}{% endtrans %}</p>",
        '<p class="{{ "is-invalid" if name }}">{{ name }}</p>',
        "<script>call('Two words')</script><code>mlhub doctor</code>",
    ],
)
def test_the_look_for_texts_lets_pass_what_is_translated_or_none(source):
    assert find_raw_texts(source) == []


@pytest.mark.parametrize("path", sorted(SCRIPTS.glob("*.js")), ids=lambda path: path.name)
def test_a_script_shows_no_sentence_that_nobody_translates(path):
    assert find_raw_sentences_of_a_script(path.read_text()) == []


def test_the_look_for_sentences_of_a_script_finds_one():
    for source in ('show("It failed.");', "show(`${name} is gone.`);", 'button.title = "Hide";'):
        assert find_raw_sentences_of_a_script(source) != [], source
    assert find_raw_sentences_of_a_script('show(translate("It failed."));') == []


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "en"),
        ("de", "de"),
        ("DE", "de"),
        ("de-AT;q=0.8", "de"),
        ("de-CH-1996, en;q=0.5", "de"),
        ("en-US,en;q=0.9,de;q=0.8", "en"),
        ("en;q=0.5, de;q=0.9", "de"),
        ("fr, de;q=0.3", "de"),
        ("fr", "en"),
        ("*", "en"),
        ("*;q=0.9, de;q=0.2", "en"),
        ("de;q=0", "en"),
        ("de;q=2, en", "en"),
        ("de;q=nan", "en"),
        ("de;q=-1", "en"),
        ("de;q=1.0000", "en"),
        ("../../etc/passwd", "en"),
        ("<script>alert(1)</script>", "en"),
        ("de\x00", "en"),
        ("__class__", "en"),
        ("en" + " " * 100_000 + "de", "en"),
        ("x," * MAX_HEADER + "de", "en"),
        ("-" * 100_000, "en"),
    ],
)
def test_a_header_chooses_among_the_languages_that_there_are(header, language):
    assert LANGUAGES.choose(header).language == language


def test_a_text_of_python_is_english_until_a_page_translates_it():
    text = Text("%(what)s of %(owner)s", what=Text("the default workspace"), owner="<b>ann</b>")
    assert text == "the default workspace of <b>ann</b>"
    assert translate(text) == text
    LANGUAGES.speak("de")
    assert text == "the default workspace of <b>ann</b>", "logs and the REST API have it so"
    assert translate(text) == "Standard-Workspace von <b>ann</b>"
    # What somebody called their workspace is no text of ours, whatever it reads.
    assert translate("Delete") == "Delete"
    assert translate(Text("Delete")) == "Löschen"
    # As tornado and JupyterHub treat the message of an error.
    assert translate(Text("Delete") % ()) == "Löschen"
    assert json.dumps({"message": text}) == f'{{"message": "{text}"}}'


@pytest.fixture
def templates() -> Environment:
    """What a site's templates are rendered by."""
    return Environment(
        extensions=[PageTexts],
        loader=DictLoader(
            {
                "hostile.html": '{{ _("%(what)s of %(owner)s", what=name, owner=text | translate)'
                " }}{% trans person=name %}for {{ person }}{% endtrans %}",
                "number.html": "{% trans count=number %}{{ count }} account."
                "{% pluralize %}{{ count }} accounts.{% endtrans %}",
                "own.html": "<p>100 % ours: {% for _ in range(2) %}{{ _ }}{% endfor %} Delete</p>"
                "{% trans %}Nobody has translated this{% endtrans %}",
            }
        ),
        autoescape=True,
    )


def test_what_somebody_may_have_in_all_is_told_in_their_language():
    told = join(
        describe_totals({"servers": 1, "gpus": 2, "mem_limit": 2**34, "disk": math.inf}),
        DiskUse(3 * 2**30, 2**30).describe(),
    )
    assert told == (
        "At once you may have at most 1 workspace, 2 GPUs and 16 GB of memory in all."
        " Your files take 3 GB, 1 GB of it in the trash."
    )
    LANGUAGES.speak("de")
    assert translate(told) == (
        "Zugleich dürfen Sie insgesamt höchstens 1 Workspace, 2 GPUs und 16 GB Arbeitsspeicher"
        " haben. Ihre Dateien belegen 3 GB, davon 1 GB im Papierkorb."
    )


@pytest.mark.parametrize("language", ["en", "de"])
def test_what_is_put_into_a_text_is_never_markup(templates, language):
    LANGUAGES.speak(language)
    page = templates.get_template("hostile.html").render(
        name="<script>alert(1)</script>%(owner)s", text=Text("of %(what)s", what='"><img src=x>')
    )
    assert "<script>" not in page
    assert "<img" not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;%(owner)s") == 2


def test_a_number_has_its_form(templates):
    page = templates.get_template("number.html")
    assert [page.render(number=number) for number in (0, 1, 2)] == [
        "0 accounts.",
        "1 account.",
        "2 accounts.",
    ]
    LANGUAGES.speak("de")
    assert [page.render(number=number) for number in (0, 1, 2)] == [
        "0 Konten.",
        "1 Konto.",
        "2 Konten.",
    ]


def test_a_sites_own_template_reads_the_same_in_every_language(templates):
    page = templates.get_template("own.html")
    english = page.render()
    assert english == "<p>100 % ours: 01 Delete</p>Nobody has translated this"
    LANGUAGES.speak("de")
    assert page.render() == english


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"plural": "import os", "pages": {}, "scripts": {}}', '{"plural": 1}'],
)
def test_a_file_that_is_no_catalog_ends_the_start_with_a_sentence(tmp_path, text):
    (tmp_path / "fr.json").write_text(text)
    with pytest.raises(ConfigurationError, match=r"fr\.json is no catalog of texts.*Correct it"):
        Languages(tmp_path)


def read_blocks(source: str) -> set[str]:
    return set(re.findall(r"\{%-? block (\w+)", source))


def test_the_frame_of_pages_has_all_that_jupyterhubs_own_has():
    theirs = (Path(jupyterhub.__file__).parents[4] / "share" / "jupyterhub").joinpath(
        "templates", "page.html"
    )
    source, frame = theirs.read_text(), (TEMPLATES / "page.html").read_text()
    assert read_blocks(source) - read_blocks(frame) == set(), "sites fill these"
    # What its scripts and ours read of the page.
    names, files = r"\b(\w+): ", r"static_url\(['\"]([^'\"]+)"
    known = {"content", "djlint", "favicon.ico"}  # no data, and what we have of our own
    for each in (names, files):
        assert set(re.findall(each, source)) - set(re.findall(each, frame)) <= known
    ids = r'id="([\w-]+)"'
    assert set(re.findall(ids, source)) - set(re.findall(ids, frame)) <= {"key"}


def test_names_of_values_are_the_only_braces_of_a_scripts_text():
    for text in extract_from_scripts():
        names = [name for _, name, _, _ in string.Formatter().parse(text) if name is not None]
        assert all(re.fullmatch(r"[a-z]+", name) for name in names), text
