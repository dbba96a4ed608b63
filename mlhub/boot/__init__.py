"""The start of the container.

Settings → data directory → certificates → rendered files → programs.
"""
