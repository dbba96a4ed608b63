# The hub's configuration, in layers. Do not edit it: mount your own file as
# /resources/jupyterhub_user_config.py, which has the last word on every default.
import sys

from mlhub.errors import EXIT_CONFIGURATION, MLHubError
from mlhub.hub.app import MLHub
from mlhub.hub.layers.site import configure
from mlhub.settings import Settings

c = get_config()  # noqa: F821 - given by JupyterHub

try:
    for warning in configure(c, Settings.load(), MLHub):
        print(f"[MLHub] Warning: {warning}", file=sys.stderr, flush=True)
except MLHubError as error:
    for sentence in error.numbered.splitlines():
        print(f"[MLHub] Error: {sentence}", file=sys.stderr, flush=True)
    sys.exit(EXIT_CONFIGURATION)
