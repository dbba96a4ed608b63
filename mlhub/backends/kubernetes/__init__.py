"""Workspaces as pods of a Kubernetes cluster; only here may a Kubernetes client be imported."""
