"""Defaults of the workspace's server; a file of the same name in ~/.jupyter has the last word."""

c = get_config()  # noqa: F821 (Jupyter puts it there)

# Nothing in a workspace calls home, and JupyterLab's own extensions belong to the image.
c.LabApp.news_url = None
c.LabApp.check_for_updates_class = "jupyterlab.NeverCheckForUpdate"
c.LabApp.extension_manager = "readonly"

# Whoever has lost a share, a group or a token is not believed for five minutes more
# (mlhub/workspaces/belief.py).
c.HubOAuth.cache_max_age = 2
