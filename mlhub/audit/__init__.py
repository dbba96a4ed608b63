"""Who did what: append-only records with rotation."""
