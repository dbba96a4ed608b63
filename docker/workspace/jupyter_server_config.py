"""Defaults of the workspace's server; a file of the same name in ~/.jupyter has the last word."""

from tornado.httpserver import HTTPServer

c = get_config()  # noqa: F821 (Jupyter puts it there)

# What the hub's front lets through of headers, and the few lines that it adds. Jupyter has no
# setting for it, and above tornado's own 64 KiB a browser with many cookies would get no answer.
HTTPServer.configure(None, max_header_size=144 * 1024)

# Nothing in a workspace calls home, and JupyterLab's own extensions belong to the image.
c.LabApp.news_url = None
c.LabApp.check_for_updates_class = "jupyterlab.NeverCheckForUpdate"
c.LabApp.extension_manager = "readonly"

# Whoever has lost a share, a group or a token is not believed for five minutes more
# (mlhub/workspaces/belief.py).
c.HubOAuth.cache_max_age = 2
