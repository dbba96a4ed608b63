"""Who gets what. Pure."""
