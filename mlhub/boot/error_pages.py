"""The pages that proxy and nginx show in place of an answer, by status and language.

The English ones lie where configurable-http-proxy looks for its own, which knows no languages; each
other language has a folder beside them, of which nginx chooses (``nginx.conf.j2``).
"""

from __future__ import annotations

from mlhub.boot.render import Renderer
from mlhub.settings import Settings
from mlhub.texts import SOURCE, Languages, Text

WAITING = {"title": Text("One moment"), "retries": True}
PAGES: dict[str, dict[str, object]] = {
    "400": {
        "title": Text("Not understood"),
        "retries": False,
        "sentence": Text(
            "What arrived here is no request that the hub can read. If it came from your browser,"
            " delete this site's cookies there and try again."
        ),
    },
    "404": {
        "title": Text("Not found"),
        "retries": False,
        "sentence": Text("There is nothing at this address."),
    },
    "413": {
        "title": Text("Too large"),
        "retries": False,
        "sentence": Text(
            "The hub's own pages and its API take at most 1 MB at a time, signing in 64 KB."
            " Uploads into a workspace have no such limit."
        ),
    },
    "414": {
        "title": Text("Address too long"),
        "retries": False,
        "sentence": Text("The hub takes addresses of at most 32 KB. Shorten it, and try again."),
    },
    "429": {
        **WAITING,
        "sentence": Text(
            "Too many requests come in at this moment, from your address or from all."
        ),
    },
    "431": {
        "title": Text("Too many cookies"),
        "retries": False,
        "sentence": Text(
            "Your browser sends more cookies than the hub takes (32 KB each, 128 KB in all)."
            " Delete this site's cookies in your browser and try again."
        ),
    },
    "502": {**WAITING, "sentence": Text("MLHub is starting.")},
    "503": {**WAITING, "sentence": Text("This workspace or the hub does not answer yet.")},
    "tool": {
        "title": Text("Nothing answers here"),
        "retries": True,
        "lists_ports": True,  # nginx-locations.j2 writes the address
        "sentence": Text(
            "No program of the workspace answers at this port. Start it. Where it runs, let it"
            " listen on all addresses (0.0.0.0): in some images 127.0.0.1 alone is not reached."
        ),
    },
    "tool-starting": {
        **WAITING,
        "sentence": Text("The program is being started in the workspace."),
    },
    "error": {
        **WAITING,
        "sentence": Text("Something between you and the workspace did not answer."),
    },
}


def render_error_pages(settings: Settings, renderer: Renderer) -> None:
    """Write the pages into the run directory."""
    languages = Languages(settings.mlhub_resources_dir / "texts")
    folder = settings.mlhub_run_dir / "errors"
    for language in languages.catalogs:
        languages.speak(language)
        place = folder if language == SOURCE else folder / language
        place.mkdir(exist_ok=True)
        place.chmod(0o755)
        for status, values in PAGES.items():
            file = place / f"{status}.html"
            file.write_text(renderer.render("proxy-error.html", **values))
            file.chmod(0o644)
    languages.speak(SOURCE)
