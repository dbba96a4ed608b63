"""What the neighbors' configurations become here: Zero to JupyterHub's values, TLJH's
``config.yaml``, a ``jupyterhub_config.py``.

Invariants: no key of theirs is dropped in silence. What cannot be carried is told with its cure,
and nothing of theirs is executed.
"""
