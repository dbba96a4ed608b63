"""Workspaces as containers of a Docker engine (or Podman's Docker API). Only here may ``docker`` be
imported.
"""

MODES = ("local",)  # the values of EXECUTION_MODE with which workspaces run here
