#!/bin/sh
# Starts what the field's images start: the single-user server under a hub, else JupyterLab on the image's own port.
if [ -n "$JUPYTERHUB_API_TOKEN" ]; then
  exec jupyterhub-singleuser "$@"
fi
exec jupyter lab --ip=0.0.0.0 --port="${JUPYTER_PORT:-8888}" --no-browser "$@"
