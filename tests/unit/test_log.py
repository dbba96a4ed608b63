"""What the hub's log does not say."""

from __future__ import annotations

import io
import logging
import time

import pytest

from mlhub.hub.app import MLHub
from mlhub.hub.log import mask


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("GET /hub/x?token=abc&page=1 (a@1.2.3.4)", "GET /hub/x?token=[secret]&page=1 (a@1.2.3.4)"),
        (
            "-> /hub/login?next=%2Fhub%2Fapi%3Fstate%3Dabc%26x%3D1",
            "-> /hub/login?next=%2Fhub%2Fapi%3Fstate%3D[secret]%26x%3D1",
        ),
        ("next=%253Ftoken%253Dabc%2526x", "next=%253Ftoken%253D[secret]%2526x"),
        ("uri='/hub/x?_xsrf=abc', version", "uri='/hub/x?_xsrf=[secret]', version"),
        ('"X-Amz-Security-Token": "a\\"b"', '"X-Amz-Security-Token": "[secret]"'),
        ("POST /hub/confirm/abc.def (@)", "POST /hub/confirm/[secret] (@)"),
        # The twins: what may be read.
        ("GET /hub/home?page=2&order=name", "GET /hub/home?page=2&order=name"),
        (
            "Open this link once: http://localhost:8080/hub/signup?setup=abc",
            "Open this link once: http://localhost:8080/hub/signup?setup=abc",
        ),
        ('"Accept-Language": "de"', '"Accept-Language": "de"'),
        ("state=running, code=1", "state=running, code=1"),
    ],
)
def test_secrets_are_masked_and_nothing_else_is(text, masked):
    assert mask(text) == masked


@pytest.mark.parametrize(
    "piece", ["key", "?key", "&a", "%3Fkey", '"key', '"key": "', "/hub/confirm/"]
)
def test_no_address_takes_long_to_look_through(piece):
    text = "GET /hub/x?" + piece * (64_000 // len(piece))
    began = time.process_time()
    mask(text)
    assert time.process_time() - began < 1


def test_what_our_modules_say_is_written_as_the_hub_writes():
    written = io.StringIO()
    ours = logging.getLogger("mlhub")
    before = ours.parent, ours.level
    handler = logging.StreamHandler(written)
    hub = MLHub(extra_log_handlers=[handler])
    try:
        hub.init_logging()
        logging.getLogger("mlhub.backends.docker.guard").info("GET /x?token=abc")
        logging.getLogger("mlhub.ssh.other_keys").debug("Not at this level")
    finally:
        hub.log.removeHandler(handler)
        ours.parent, level = before
        ours.setLevel(level)
    assert "[I " in written.getvalue()
    assert "token=[secret]" in written.getvalue()
    assert "Not at this level" not in written.getvalue()
