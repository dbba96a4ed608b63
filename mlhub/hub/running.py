"""What runs when the hub starts is found where it answers now, and not stopped for being slow, or
because nobody could tell whether it runs.

JupyterHub asks each workspace of its database at one address for ``http_timeout``, and stops what
did not answer. It takes a spawner whose ``poll`` raises for one that does not run, and one whose
``get_url`` raises stays "pending check" for ever, so that nobody can start or stop it. After a
restart of a node or an engine, addresses are others and come late, as the workspaces themselves do.
It has no hook there, so these methods are wrapped, of whatever class a site has chosen.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from typing import Any

from jupyterhub import __version__
from jupyterhub._version import _check_version
from jupyterhub.user import User
from jupyterhub.utils import AnyTimeoutError, make_ssl_context

from mlhub.workspaces.spawner import find_workspace

# Longer than that nobody's route waits for a workspace: it runs, and whoever opens it is told that
# it does not answer yet.
ANSWER_SECONDS = 10.0
TRY_SECONDS, PAUSE_SECONDS = 1.0, 0.25


def wait_for_what_runs(spawner_class: type) -> None:
    """Have JupyterHub keep whatever runs when it starts."""
    doubt_failures(spawner_class)
    wait_up = User._wait_up
    if getattr(wait_up, "keeps_what_runs", False):
        return

    async def keep_up(user: Any, spawner: Any) -> Any:
        if spawner.pending != "check" or find_workspace(spawner) is None:
            return await wait_up(user, spawner)
        try:
            answer = await wait_for_answer(user, spawner)
        except AnyTimeoutError:
            raise  # it does not run any more
        except Exception:
            spawner.log.exception("Whether %s answers cannot be told", spawner._log_name)
            answer = None
        # What JupyterHub leaves behind when it has waited for a start.
        spawner._waiting_for_response = spawner._start_pending = False
        if answer is None:
            spawner.log.warning(
                "%s runs, and does not answer at %s yet. It is left alone.",
                *(spawner._log_name, spawner.server.url),
            )
            return spawner
        version = answer.headers.get("X-JupyterHub-Version")
        _check_version(__version__, version, spawner.log)
        spawner._jupyterhub_version = version
        return spawner

    keep_up.keeps_what_runs = True  # type: ignore[attr-defined]
    User._wait_up = keep_up


def doubt_failures(spawner_class: Any) -> None:
    """Have a class's ``poll`` and ``get_url``, while the hub starts, prove nothing where they
    raise: what the database says holds until the next look.
    """
    if "doubts_failures" in vars(spawner_class.poll):
        return

    def doubt(method: Any, believe: Any) -> Any:
        @functools.wraps(method)
        async def ask(spawner: Any) -> Any:
            try:
                answer = method(spawner)
                return await answer if inspect.isawaitable(answer) else answer
            except Exception as error:
                if spawner.pending != "check" or spawner.server is None:
                    raise
                spawner.log.warning(
                    "%s of %s cannot be told (%r). It is taken to be as it was.",
                    *(method.__name__, spawner._log_name, error),
                )
                return believe(spawner)

        ask.doubts_failures = True  # type: ignore[attr-defined]
        return ask

    spawner_class.poll = doubt(spawner_class.poll, lambda spawner: None)
    spawner_class.get_url = doubt(spawner_class.get_url, lambda spawner: spawner.server.url)


async def wait_for_answer(user: Any, spawner: Any) -> Any | None:
    """Return what a workspace answers, wherever that is, None where it takes too long.

    Raises ``TimeoutError`` where it does not run any more, after which JupyterHub tidies up.
    """
    clock = asyncio.get_running_loop().time
    deadline = clock() + min(ANSWER_SECONDS, spawner.http_timeout)
    names = ("internal_ssl_key", "internal_ssl_cert", "internal_ssl_ca")
    key, certificate, authority = (user.settings.get(name) for name in names)
    while True:
        await spawner.follow_address()
        try:
            # JupyterHub's own deadline does not end a connection that nobody answers.
            async with asyncio.timeout(TRY_SECONDS):
                return await spawner.server.wait_up(
                    timeout=TRY_SECONDS,
                    http=True,
                    ssl_context=make_ssl_context(key, certificate, cafile=authority),
                    extra_path="api",
                )
        except AnyTimeoutError:
            pass
        if await spawner.poll() is not None:
            raise TimeoutError
        if clock() > deadline:
            return None
        await asyncio.sleep(PAUSE_SECONDS)
