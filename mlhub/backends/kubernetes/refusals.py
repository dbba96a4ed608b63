"""What the cluster's API refuses, or that it cannot be reached, as sentences."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable

import aiohttp
from kubernetes_asyncio.client import ApiException

from mlhub.errors import (
    BackendError,
    CapacityError,
    ConfigurationError,
    EngineUnreachableError,
    MLHubError,
)
from mlhub.texts import Text

# The API server's own trouble, which passes: too many requests, a leader that is being elected, a
# restart.
PASSING = {429, 500, 502, 503, 504}


def make_error(error: BaseException) -> MLHubError:
    """Make a sentence of an error of the API or of the way to it."""
    if not isinstance(error, ApiException):
        if isinstance(error, ssl.SSLError | aiohttp.ClientSSLError):
            return EngineUnreachableError(
                Text(
                    "The Kubernetes API's certificate is not accepted (%(error)s). Python"
                    " asks for a CA with keyUsage and leaves with an"
                    " authorityKeyIdentifier; have the cluster's certificates made anew, or"
                    " name its CA in c.KubeSpawner.k8s_api_ssl_ca_cert.",
                    error=error,
                )
            )
        return EngineUnreachableError(
            Text(
                "The Kubernetes API cannot be reached (%(reason)s). Try again in a"
                " moment; if that does not help, ask your administrator.",
                reason=str(error)[:300] or type(error).__name__,
            )
        )
    text = read_message(error)
    for recognize in _REFUSALS:
        if found := recognize(error.status, text):
            return found
    if error.status in PASSING:
        return EngineUnreachableError(
            Text(
                "The Kubernetes API is in trouble (%(text)s). Try again in a moment.",
                text=text[:300],
            )
        )
    return BackendError(Text("Kubernetes refused: %(text)s.", text=text[:500]))


def read_message(error: ApiException) -> str:
    """Read what the API said, without the noise around it."""
    try:
        return str(json.loads(error.body or b"")["message"]).strip().rstrip(".")
    except (ValueError, KeyError, TypeError):
        return str(error.reason or error).strip().rstrip(".")


def _refuse_quota(status: int, text: str) -> MLHubError | None:
    if status == 403 and "exceeded quota" in text:
        return CapacityError(
            Text(
                "The cluster's quota for workspaces is used up (%(text)s). Stop a"
                " workspace, or ask your administrator for more.",
                text=text,
            )
        )
    return None


def _refuse_pod_security(status: int, text: str) -> MLHubError | None:
    if status == 403 and "PodSecurity" in text:
        return ConfigurationError(
            f"The namespace does not admit this workspace: {text}. Remove what the site adds to"
            " pods (c.KubeSpawner.…), or ask for another Pod Security level of the namespace."
        )
    return None


def _refuse_right(status: int, text: str) -> MLHubError | None:
    if status in (401, 403) and ("cannot" in text or status == 401):
        return BackendError(
            Text(
                "The hub lacks a right in the cluster: %(text)s. Install the chart"
                " with rbac.enabled=true, or grant it.",
                text=text,
            )
        )
    return None


def _refuse_object(status: int, text: str) -> MLHubError | None:
    if status in (400, 422):
        return ConfigurationError(
            f"Kubernetes does not accept this workspace: {text[:800]}. Correct the option it names,"
            " or what the site configures for it."
        )
    return None


_REFUSALS: tuple[Callable[[int, str], MLHubError | None], ...] = (
    _refuse_quota,
    _refuse_pod_security,
    _refuse_right,
    _refuse_object,
)
