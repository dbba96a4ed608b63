"""Accounts and passwords of the hub's own."""
