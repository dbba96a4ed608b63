"""Templates that one hub has compiled for all others."""

from __future__ import annotations

from jinja2 import FileSystemBytecodeCache


class CompiledTemplates(FileSystemBytecodeCache):
    """Keep what JupyterHub's two environments make of a template apart: one renders at once."""

    def get_bucket(self, environment, name, filename, source):  # type: ignore[no-untyped-def]
        return super().get_bucket(environment, f"{name} {environment.is_async}", filename, source)
