"""Base classes of pages, and static files."""
