"""Addresses by which nils might try to come to a port of nora's workspace."""

from __future__ import annotations


def list_spellings(port: int, whose: str = "nora") -> list[str]:
    """List them: other spellings of a name, ways over his own workspace, more and fewer slashes."""
    heads = (
        "/user/nora",
        "/USER/nora",
        "/user/%6eora",
        "/user/%256eora",
        "//user/nora",
        "/user//nora",
        "/user/nora/",
        "/user/norah",
        "/user/nor",
        "/user/nora%00",
        "/user/nora;",
        "/hub/user/nora",
        "/user/nils/../nora",
        "/user/nils/%2e%2e/nora",
        "/user/nils/..%2fnora",
        "/user/nils/..;/nora",
        "/user/nils%2f..%2fnora",
        "/user/nils/%2fuser/nora",
        f"/user/nils/tools/{port}/../../../nora",
        f"/user/nils/tools/{port}/..%2f..%2f..%2fnora",
        f"/user/nils/tools/{port}%2f..%2f..%2f..%2fnora",
        f"/user/nils/tools/{port}/%2e%2e/%2e%2e/%2e%2e/nora",
    )
    tails = (f"/tools/{port}/", f"/tools//{port}/", f"/tools/absolute/{port}/", f"/tools%2f{port}/")
    spellings = [head + tail for head in heads for tail in tails]
    return [spelling.replace("nora", whose) for spelling in spellings]
