"""The pages that nginx shows in place of an answer: one for each language, and which one."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from mlhub.backends.registry import read_settings
from mlhub.boot.error_pages import PAGES, render_error_pages
from mlhub.boot.render import Renderer, make_addresses

RESOURCES = Path(__file__).parents[2] / "resources"


def read_titles(folder: Path) -> dict[str, str]:
    return {
        file.name: re.search(
            r'<html lang="(\w+)">.*<title>([^<]*) . MLHub<', file.read_text(), re.S
        ).groups()
        for file in folder.glob("*.html")
    }


def test_each_page_of_nginx_is_there_in_each_language(tmp_path):
    (tmp_path / "errors").mkdir()
    settings = read_settings(
        {"MLHUB_RESOURCES_DIR": str(RESOURCES), "MLHUB_RUN_DIR": str(tmp_path)}
    )
    renderer = Renderer(settings, make_addresses(settings))
    render_error_pages(settings, renderer)
    english, german = read_titles(tmp_path / "errors"), read_titles(tmp_path / "errors" / "de")
    assert set(english) == set(german) == {f"{status}.html" for status in PAGES}
    assert english["502.html"] == ("en", "One moment")
    assert german["502.html"] == ("de", "Einen Moment")
    for name, shown in english.items():
        assert german[name] != shown
    hub, proxy = (tmp_path / "errors" / each / "tool.html" for each in ("", "de"))
    assert "MLHUB_ADDRESS" in hub.read_text()
    assert "MLHUB_ADDRESS" in proxy.read_text()
    assert 'lang="en"' in renderer.render("proxy-error.html", **PAGES["404"])


@pytest.mark.parametrize(
    ("header", "folder"),
    [
        ("", ""),
        ("de", "de/"),
        ("DE-at;q=0.8, en;q=0.5", "de/"),
        ("fr-FR, de;q=0.4, en;q=0.3", "de/"),
        ("en-US,en;q=0.9,de;q=0.8", ""),
        ("fr, en, de", ""),
        ("deu, eng", ""),
        ("*", ""),
        ("../de", ""),
        ("x" * 30_000, ""),
        ("fr, " * 8_000, ""),
        (", " * 16_000 + "de", "de/"),
        ("-" * 30_000 + ",de", "de/"),
    ],
)
def test_nginx_takes_the_first_language_that_there_is_and_no_header_makes_it_slow(header, folder):
    settings = read_settings({"MLHUB_RESOURCES_DIR": str(RESOURCES)})
    text = Renderer(settings, make_addresses(settings)).render("nginx.conf.j2")
    body = re.search(r"map \$http_accept_language \$language_folder \{(.*?)\n    \}", text, re.S)[1]
    choices = dict(re.findall(r'"~\*([^"]+)" (\S+);', body))
    assert list(choices.values()) == ["de/"]
    began = time.monotonic()
    found = next(
        (place for each, place in choices.items() if re.search(each, header, re.IGNORECASE)), ""
    )
    assert found == folder
    assert time.monotonic() - began < 1


def test_a_sentence_with_markup_does_not_become_markup():
    settings = read_settings({"MLHUB_RESOURCES_DIR": str(RESOURCES)})
    text = Renderer(settings, make_addresses(settings)).render(
        "proxy-error.html", title="<script>x</script>", sentence="a", retries=True
    )
    assert "<script>" not in text
