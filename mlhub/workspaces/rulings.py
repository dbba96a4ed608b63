"""What becomes of the traits of JupyterHub's Spawner, wherever workspaces run."""

from __future__ import annotations

from mlhub.traits import Rulings, honored, without_effect

_UNIT = "tests/unit/test_spawner_rulings.py::"
KEPT = f"{_UNIT}test_what_a_site_writes_of_its_spawner_is_kept"
INTERNAL = "c.JupyterHub.internal_ssl is refused, and nothing else uses it."

# What the hub itself asks of a spawner; no backend looks at it.
SPAWNER: Rulings = {
    **honored(
        KEPT,
        "auth_state_hook consecutive_failure_limit http_timeout oauth_client_allowed_scopes"
        " oauth_roles poll_interval poll_jitter progress_ready_hook server_token_scopes"
        " start_timeout",
    ),
    **honored(
        "tests/hub/test_options_api.py::test_hooks_of_the_site_do_not_lift_the_policy",
        "apply_user_options pre_spawn_hook",
        "What it sets is held to the policy.",
    ),
    **honored(
        f"{_UNIT}test_what_a_group_gets_is_laid_over_what_all_have",
        "group_overrides",
        "What it sets is held to the policy.",
    ),
    **honored(KEPT, "post_stop_hook"),
    **honored(
        "tests/hub/test_form.py::test_a_site_adds_a_field_of_its_own_as_the_documentation_says",
        "options_form options_from_form",
        "Fields of the site's own are named by `c.Spawner.extra_options`.",
    ),
    **without_effect("ssl_alt_names ssl_alt_names_include_local", INTERNAL),
}
