"""The ports of a workspace at which anything listens, as people read them. Pure: no I/O."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mlhub.options.images import DeclaredTool
from mlhub.ssh import authority, relay

# Where well-known programs listen unless they are told otherwise.
USUAL_NAMES = {
    2718: "marimo",
    3838: "Shiny Server",
    4040: "Spark",
    5000: "MLflow or Flask",
    5006: "Bokeh or Panel",
    6006: "TensorBoard",
    7860: "Gradio",
    8050: "Dash",
    8265: "Ray",
    8501: "Streamlit",
    8787: "RStudio Server or Dask",
    8866: "Voilà",
    8888: "Jupyter",
}
# The SSH server that the hub brings into workspaces, and its relay.
OURS = frozenset({authority.PORT, relay.PORT})
# From here on Linux gives ports to whoever asks for any: kernels and helpers have several each.
FIRST_ANY_PORT = 32768


@dataclass(frozen=True)
class Found:
    """A port at which something listens: what it may be, and its address."""

    port: int
    name: str
    url: str


def name_ports(
    ports: Iterable[int], declared: Iterable[DeclaredTool], path: str, own_port: int | None
) -> list[Found]:
    """Name the ports that people may want to open below ``path``; ``own_port`` is that of the
    workspace's own server.
    """
    tools = {tool.port: tool for tool in declared}
    found = []
    for port in ports:
        tool = tools.get(port)
        if tool is None and (port in OURS or port == own_port or port >= FIRST_ANY_PORT):
            continue
        name = tool.name if tool else USUAL_NAMES.get(port, "")
        found.append(Found(port, name, f"{path}{tool.place if tool else f'{port}/'}"))
    return found
