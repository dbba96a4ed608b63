"""A first day with the hub, by browser: sign up, sign in, work, stop, come back, a second server,
tidy up.
"""

from __future__ import annotations

import pytest

from tests.support.first_day import live_through_a_day


@pytest.mark.parametrize(
    "environment",
    [
        # Each step of it is in the other modules over plain HTTP.
        pytest.param({}, id="http", marks=pytest.mark.full),
        pytest.param({"SSL_ENABLED": "true", "MLHUB_HOSTNAMES": "127.0.0.1"}, id="https"),
        pytest.param({"START_CHP": "true"}, id="CHP", marks=pytest.mark.full),
    ],
)
def test_a_first_day_from_the_setup_code_to_a_deleted_server(
    environment, make_hub, open_window, setup_code
):
    hub = make_hub("", **environment)
    live_through_a_day(hub, open_window(hub), setup_code(hub))
