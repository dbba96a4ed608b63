"""The places where workspaces can run, one module or folder each."""
