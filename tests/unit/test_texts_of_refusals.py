"""Why something is refused, in the reader's language; in English for programs and logs."""

from __future__ import annotations

import pytest

from mlhub.errors import WorkspaceDiedError
from mlhub.options.model import FieldsError, WorkspaceOptions, drop_name
from mlhub.options.option import Host
from mlhub.policy.circumstances import Circumstances
from mlhub.policy.decide import decide
from mlhub.policy.file import read_policy
from mlhub.policy.idle import plan_stop
from mlhub.policy.model import Person, SpawnerDefaults
from mlhub.policy.quota import Reservation
from mlhub.texts import Languages, Text, change, explain, join, translate
from mlhub.workspaces.start import make_http_error
from tests.support.texts import ROOT

LANGUAGES = Languages(ROOT / "resources" / "texts")
PAYLOAD = "<script>alert(1)</script>%(name)s%s"


@pytest.fixture(autouse=True)
def english():
    """A test that speaks another language leaves none of it to the next one."""
    LANGUAGES.speak("en")
    yield
    LANGUAGES.speak("en")


def meet(policy: str, held: tuple[Reservation, ...] = ()) -> Circumstances:
    """Return the circumstances of a start under a policy written as YAML."""
    defaults = SpawnerDefaults(image="lab:1")
    return Circumstances(read_policy(policy), Person("ann"), Host(cpus=8), defaults, held)


def refuse(policy: str, asked: dict, *held: Reservation) -> FieldsError:
    """Return what a start is refused with."""
    circumstances = meet(policy, held)
    with pytest.raises(FieldsError) as caught:
        decide(circumstances, WorkspaceOptions.from_rest(asked))
    return caught.value


@pytest.mark.parametrize(
    ("policy", "asked", "field", "english", "german"),
    [
        (
            "everyone: {cpu_limit: {max: 2}}",
            {"cpu_limit": 4},
            "cpu_limit",
            "cpu_limit=4 is more than you may have. Ask for at most 2.",
            "cpu_limit=4 ist mehr, als Ihnen zusteht. Fordern Sie höchstens 2 an.",
        ),
        (
            "everyone: {options: [cpu_limit]}",
            {"mem_limit": "1G"},
            "mem_limit",
            "mem_limit cannot be chosen here. Leave it out.",
            "mem_limit lässt sich hier nicht wählen. Lassen Sie es weg.",
        ),
        (
            "everyone: {total: {servers: 1}}",
            {},
            "servers",
            "You may run 1 workspace at once, 1 already do. Stop one first.",
            "Die Obergrenze für Sie liegt bei 1 Workspace zugleich; schon laufend: 1. Stoppen Sie"
            " zuerst einen.",
        ),
    ],
)
def test_a_refusal_is_told_in_the_readers_language(policy, asked, field, english, german):
    error = refuse(policy, asked, Reservation("ann", "other"))
    assert error.fields[field] == english
    assert str(error).startswith(english), "a log can be searched"
    LANGUAGES.speak("de")
    assert str(error.fields[field]) == english
    assert translate(error.fields[field]) == german
    shown = make_http_error(error).jupyterhub_message
    assert german in translate(shown)
    assert english in str(make_http_error(error))
    if german.startswith(field):
        assert not drop_name(field, german).startswith(field), "the field has a label"


def test_what_cannot_be_read_is_told_in_the_readers_language_and_quoted_as_it_was_typed():
    with pytest.raises(FieldsError) as caught:
        WorkspaceOptions.from_form({"cpu_limit": [PAYLOAD], "env": ["PATH=x"]})
    LANGUAGES.speak("de")
    fields = {name: translate(text) for name, text in caught.value.fields.items()}
    assert fields["cpu_limit"] == (
        f"cpu_limit={PAYLOAD!r} ist keine Zahl oder liegt außerhalb des Bereichs. Schreiben Sie zum"
        " Beispiel 2, 0.5 oder 500m."
    )
    assert fields["env"] == (
        "env darf PATH nicht setzen: das würde ändern, welche Programme laufen. Entfernen Sie die"
        " Zeile."
    )


def test_why_a_workspace_is_stopped_is_told_in_the_readers_language():
    decision = decide(meet("everyone: {idle: {timeout: 2h}}"), WorkspaceOptions())
    stop = plan_stop(decision.idle, 0, 0)
    assert stop is not None
    assert stop.reason == "nobody has used it for 2 hours"
    LANGUAGES.speak("de")
    assert translate(stop.reason) == "niemand hat ihn 2 Stunden lang benutzt"


def test_the_id_of_an_error_stands_behind_its_sentence_in_each_language():
    text = Text("%(what)s of %(owner)s", what=Text("the workspace"), owner="ann\nlast words:")
    error = WorkspaceDiedError(text)
    shown = change(explain(error), error.number)
    assert shown == "the workspace of ann (MLHUB-E054)\nlast words:"
    LANGUAGES.speak("de")
    assert translate(shown) == "Workspace von ann (MLHUB-E054)\nlast words:"
    assert explain(ValueError("of others")) == "of others"
    assert translate(join(shown, PAYLOAD)).endswith(PAYLOAD)
