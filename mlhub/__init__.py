"""MLHub: workspaces for a team, by browser and by SSH, through one port."""

__version__ = "3.0.0.dev0"
