"""What the hub adds to a site's own headers and cookies, and what of the site's holds."""

from __future__ import annotations

import pytest
from tornado.httputil import HTTPHeaders

from mlhub.web.navigation import explain_wide_frames, is_framed, is_navigation, protect

PLATFORM = {
    "Content-Security-Policy": "default-src https:; frame-ancestors https://lms.example.org"
}


@pytest.mark.parametrize(
    ("policy", "framed"),
    [
        ("", False),
        ("default-src 'self'", False),
        ("frame-ancestors", False),
        ("frame-ancestors 'none'", False),
        ("Frame-Ancestors 'NONE'; report-uri /x", False),
        ("x-frame-ancestors https://lms.example.org", False),
        ("frame-ancestors https://lms.example.org", True),
        ("default-src https:;frame-ancestors 'self' https://*.example.org;", True),
    ],
)
def test_a_site_may_name_who_frames_the_hub(policy, framed):
    assert is_framed(HTTPHeaders({"Content-Security-Policy": policy})) is framed


@pytest.mark.parametrize(
    ("ancestors", "named"),
    [
        ("https://lms.example.org https://*.example.org", ""),
        ("'none'", ""),
        ("'self' https://lms.example.org", "'self'"),
        ("*", "*"),
        ("https:", "https:"),
    ],
)
def test_a_site_is_told_where_it_lets_workspaces_frame_the_hub(ancestors, named):
    headers = HTTPHeaders({"Content-Security-Policy": f"frame-ancestors {ancestors}"})
    sentence = explain_wide_frames(headers)
    assert sentence.startswith(f"frame-ancestors {named} lets") if named else sentence == ""


def test_a_frame_is_a_window_only_where_the_site_names_one():
    frame = HTTPHeaders(
        {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe", "Sec-Fetch-Site": "cross-site"}
    )
    assert is_navigation(frame, framed=True)
    assert not is_navigation(frame, framed=False)
    for destination in ("object", "embed", "empty", "script", "worker"):
        frame["Sec-Fetch-Dest"] = destination
        assert not is_navigation(frame, framed=True), destination


def test_what_a_site_sets_itself_holds():
    site = {
        "headers": {**PLATFORM, "referrer-policy": "origin"},
        "cookie_options": {"samesite": "None", "secure": True},
        "xsrf_cookie_kwargs": {"max_age": 60},
        "other": 1,
    }
    protect(site)
    assert site["headers"]["Content-Security-Policy"] == PLATFORM["Content-Security-Policy"]
    assert site["headers"]["Referrer-Policy"] == "origin"
    assert "X-Frame-Options" not in site["headers"]
    assert site["cookie_options"] == {"samesite": "None", "secure": True}
    assert site["xsrf_cookie_kwargs"] == {
        "samesite": "None",
        "secure": True,
        "httponly": True,
        "max_age": 60,
    }
    assert site["other"] == 1


def test_nobody_frames_a_hub_whose_site_says_nothing():
    bare = {}
    protect(bare)
    assert bare["headers"]["X-Frame-Options"] == "DENY"
    assert bare["cookie_options"] == {"samesite": "Lax"}
