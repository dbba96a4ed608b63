# The hub's configuration, in layers. Do not edit it: mount your own file as
# /resources/jupyterhub_user_config.py, which has the last word on every default.
import sys

from mlhub.errors import EXIT_CONFIGURATION, MLHubError
from mlhub.hubconfig import chart, classes, defaults, userconfig, wiring
from mlhub.settings import Settings

c = get_config()  # noqa: F821 - given by JupyterHub

try:
    settings = Settings.load()
    defaults.apply_defaults(c, settings)
    if settings.execution_mode == "k8s":
        chart.apply_preferences(c, settings)
    user_config = userconfig.find_user_config(settings)
    if user_config:
        userconfig.run_user_config(c, user_config, shown_as=settings.mlhub_resources_dir / userconfig.NAME)
    if settings.execution_mode == "k8s":
        chart.apply_facts(c, settings)
    wiring.apply_facts(c, settings)
    wiring.wire(c, settings)
    classes.check_classes(c)
except MLHubError as error:
    print(f"[MLHub] Error: {error}", file=sys.stderr, flush=True)
    sys.exit(EXIT_CONFIGURATION)
