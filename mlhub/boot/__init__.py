"""The start of the container: settings → data directory → certificates → rendered files → programs."""
