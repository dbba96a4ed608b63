"""Fills JupyterHub's config ``c`` in layers: defaults → the user's file → facts → wiring."""
