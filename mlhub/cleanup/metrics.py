"""Cleanup in numbers, among those of JupyterHub (``/hub/metrics``)."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

PASSES = Counter("mlhub_cleanup_passes_total", "Passes of the cleanup service", ["task", "outcome"])
REMOVED = Counter(
    "mlhub_cleanup_removed_total", "Objects that cleanup has removed", ["task", "kind"]
)
ERRORS = Counter("mlhub_cleanup_errors_total", "Objects that could not be removed", ["task"])
HELD = Gauge("mlhub_cleanup_held", "Objects that wait for an administrator who confirms", ["task"])
LAST_PASS = Gauge("mlhub_cleanup_last_pass_timestamp_seconds", "When the last pass ended", ["task"])
NEXT_PASS = Gauge(
    "mlhub_cleanup_next_pass_timestamp_seconds", "When the timer begins its next pass; 0 for never"
)
