# The user config of docker/compose.yaml: write your own lines below, or name another file as
# MLHUB_USER_CONFIG.
import os

c = get_config()  # noqa: F821
if os.environ.get("DATABASE_URL"):
    c.JupyterHub.db_url = os.environ["DATABASE_URL"]
