"""Handlers that the hub serves beside its own pages."""
