"""Everything about SSH."""
