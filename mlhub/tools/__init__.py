"""Ports of workspaces behind the hub's own check: whose they are, who gets there."""
