"""The pages that proxy and nginx show in place of an answer, by status."""

from __future__ import annotations

from mlhub.boot.render import Renderer
from mlhub.settings import Settings

WAITING = {"title": "One moment", "retries": True}
PAGES: dict[str, dict[str, object]] = {
    "400": {
        "title": "Not understood",
        "retries": False,
        "sentence": (
            "What arrived here is no request that the hub can read. If it came from your browser,"
            " delete this site's cookies there and try again."
        ),
    },
    "404": {
        "title": "Not found",
        "retries": False,
        "sentence": "There is nothing at this address.",
    },
    "413": {
        "title": "Too large",
        "retries": False,
        "sentence": (
            "The hub's own pages and its API take at most 1 MB at a time, signing in 64 KB."
            " Uploads into a workspace have no such limit."
        ),
    },
    "414": {
        "title": "Address too long",
        "retries": False,
        "sentence": "The hub takes addresses of at most 32 KB. Shorten it, and try again.",
    },
    "429": {
        **WAITING,
        "sentence": "Too many requests come in at this moment, from your address or from all.",
    },
    "431": {
        "title": "Too many cookies",
        "retries": False,
        "sentence": (
            "Your browser sends more cookies than the hub takes (32 KB each, 128 KB in all)."
            " Delete this site's cookies in your browser and try again."
        ),
    },
    "502": {**WAITING, "sentence": "MLHub is starting."},
    "503": {**WAITING, "sentence": "This workspace or the hub does not answer yet."},
    "tool": {
        "title": "Nothing answers here",
        "retries": True,
        "lists_ports": True,  # nginx-locations.j2 writes the address
        "sentence": (
            "No program of the workspace answers at this port. Start it. Where it runs, let it"
            " listen on all addresses (0.0.0.0): in some images 127.0.0.1 alone is not reached."
        ),
    },
    "tool-starting": {**WAITING, "sentence": "The program is being started in the workspace."},
    "error": {
        **WAITING,
        "sentence": "Something between you and the workspace did not answer.",
    },
}


def render_error_pages(settings: Settings, renderer: Renderer) -> None:
    """Write the pages into the run directory."""
    for status, values in PAGES.items():
        file = settings.mlhub_run_dir / "errors" / f"{status}.html"
        file.write_text(renderer.render("proxy-error.html", **values))
        file.chmod(0o644)
