"""Names that pass for others by letters of other scripts."""

import pytest

from mlhub.signin.native.lookalikes import describe_letters, describe_mixture
from mlhub.signin.native.rules import explain_username


@pytest.mark.parametrize(
    ("name", "scripts"),
    [
        ("\u0430dmin", "Cyrillic and Latin"),
        ("adm\u0456n", "Cyrillic and Latin"),
        ("p\u03b1ul", "Greek and Latin"),
        ("\u0585mar", "Armenian and Latin"),
        ("\u0430\u03b1", "Cyrillic and Greek"),
        ("\u0430\u4e2d", "Cjk and Cyrillic"),
    ],
)
def test_letters_of_two_scripts_in_one_name_are_refused_at_the_sign_up(name, scripts):
    assert describe_mixture(name) == f"mixes {scripts} letters"
    assert f"mixes {scripts} letters" in explain_username(name)


@pytest.mark.parametrize(
    "name",
    [
        "admin",
        "j\u00fcrgen.m\u00fcller-2@example.org",
        "\u0430\u043d\u043d\u0430",  # Anna in Cyrillic
        "\u03c3\u03c9\u03ba\u03c1\u03ac\u03c4\u03b7\u03c2",  # Socrates in Greek
        "tanaka\u7530\u4e2d",
        "\u7530\u4e2d\u3055\u3093",
        "\uae40\uc120kim",
        "\u00ednigo-42",
        "42",
    ],
)
def test_names_of_one_script_and_east_asian_ones_beside_latin_are_names(name):
    assert explain_username(name) == ""
    assert describe_letters(name) == ""


@pytest.mark.parametrize(
    ("name", "script"),
    [
        ("\u0430\u0441\u0435", "Cyrillic"),
        ("\u0440\u0430\u0443-2", "Cyrillic"),
        ("\u03bd\u03bf", "Greek"),
    ],
)
def test_a_name_whose_every_letter_looks_latin_is_marked_for_administrators(name, script):
    assert describe_letters(name) == f"is written in {script} letters that look like Latin ones"
    assert explain_username(name) == ""  # it may be somebody's name
