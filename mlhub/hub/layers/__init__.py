"""The layers of the hub's configuration."""
