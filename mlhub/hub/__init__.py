"""JupyterHub, configured."""
