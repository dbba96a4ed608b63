"""Ask the hub what people who work here should be told: that this workspace expires or stops soon;
and tell what it takes (`GET …/mlhub/use`).

A part of the workspace's server (`GET …/mlhub/notices`), which asks with the workspace's own token,
because JupyterLab's page has none of the hub's. What shows it is
labextension/static/remoteEntry.js.
"""

import json
import os
import time
from pathlib import Path
from urllib.parse import quote

from jupyter_server.base.handlers import APIHandler
from jupyter_server.utils import url_path_join
from tornado import web
from tornado.httpclient import AsyncHTTPClient, HTTPError, HTTPRequest

SECONDS = 10


class NoticesHandler(APIHandler):
    """Hand on the hub's answer; nothing where no hub has started this server, or none answers."""

    _track_activity = False  # that somebody looks by the clock is no use of the workspace

    @web.authenticated
    async def get(self):
        """Send the notices, and where the hub's pages are."""
        hub = (
            os.environ.get("JUPYTERHUB_HOST", "")
            + os.environ.get("JUPYTERHUB_BASE_URL", "/")
            + "hub/"
        )
        self.finish({"hub": hub, "notices": await self.ask()})

    async def ask(self):
        """Return the hub's notices."""
        api, token = os.environ.get("JUPYTERHUB_API_URL"), os.environ.get("JUPYTERHUB_API_TOKEN")
        if not (api and token):
            return []
        user, server = (
            quote(os.environ.get(f"JUPYTERHUB_{name}", ""), safe="@~")
            for name in ("USER", "SERVER_NAME")
        )
        url = (
            f"{api}/users/{user}/servers/{server}/notices"
            if server
            else f"{api}/users/{user}/server/notices"
        )
        request = HTTPRequest(
            url,
            headers={"Authorization": f"token {token}"},
            request_timeout=SECONDS,
            follow_redirects=False,  # the token is for the hub alone
        )
        try:
            answer = await AsyncHTTPClient().fetch(request)
            return json.loads(answer.body)["notices"]
        except (HTTPError, OSError, ValueError, KeyError) as error:
            # An older hub, or one that is just replaced.
            self.log.debug("The hub tells no notices: %s", error)
            return []


class UseHandler(APIHandler):
    """Tell what the container of this server takes now, as the kernel counts it."""

    _track_activity = False
    last = None  # when it was asked last, and the seconds of CPU by then

    @web.authenticated
    async def get(self):
        """Send it; what is without limit, or not known, is null."""
        now, used = time.monotonic(), read_cpu_seconds()
        cpu, last = None, UseHandler.last
        if used is not None:
            if last and now > last[0]:
                cpu = round((used - last[1]) / (now - last[0]), 2)
            UseHandler.last = (now, used)
        memory, limit = read_memory()
        self.finish(
            {"cpu": cpu, "cpu_limit": read_cores(), "memory": memory, "memory_limit": limit}
        )


# https://docs.kernel.org/admin-guide/cgroup-v2.html; a host with version 1 is told nothing of.
CGROUP = Path("/sys/fs/cgroup")


def read(name):
    """Return the words of one of the kernel's files; none where there is no such file."""
    try:
        return (CGROUP / name).read_text().split()
    except OSError:
        return []


def read_cpu_seconds():
    """Return the seconds of CPU that this container has used."""
    words = read("cpu.stat")
    return int(words[1]) / 1e6 if words[:1] == ["usage_usec"] else None


def read_cores():
    """Return how many cores it may use; None without a limit."""
    words = read("cpu.max")
    return (
        round(int(words[0]) / int(words[1]), 2) if len(words) == 2 and words[0] != "max" else None
    )


def read_memory():
    """Return the bytes that it takes, without cache that the kernel gives back, and its limit."""
    current, limit, stat = read("memory.current"), read("memory.max"), read("memory.stat")
    counts = dict(zip(stat[::2], stat[1::2], strict=False))
    taken = int(current[0]) - int(counts.get("inactive_file", 0)) if current else None
    return taken, int(limit[0]) if limit and limit[0] != "max" else None


def _jupyter_server_extension_points():
    return [{"module": "mlhub_notices"}]


def _load_jupyter_server_extension(app):
    base = url_path_join(app.web_app.settings["base_url"], "mlhub")
    pages = [(f"{base}/notices", NoticesHandler), (f"{base}/use", UseHandler)]
    app.web_app.add_handlers(".*$", pages)
