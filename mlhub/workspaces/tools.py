"""Whether the ports of a workspace are reached below its address, and which programs are there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mlhub.errors import MLHubError
from mlhub.options.images import DeclaredTool
from mlhub.workspaces.port import WorkspaceSpawner
from mlhub.workspaces.spawner import find_workspace


@dataclass(frozen=True)
class ToolLink:
    """A button that opens a program of a workspace."""

    name: str
    url: str


def find_declared(spawner: Any, port: int) -> DeclaredTool | None:
    """Find the program that the site has declared at a port of a workspace."""
    workspace = find_workspace(spawner)
    declared = workspace.declared_tools if workspace is not None else ()
    return next((tool for tool in declared if tool.port == port), None)


def may_have_tools(workspace: WorkspaceSpawner) -> bool:
    """Return True if the ports of a workspace can be behind the hub's check at all."""
    return workspace.has_own_address and not workspace.answers_tools


def has_tools(workspace: WorkspaceSpawner) -> bool:
    """Return True if the site's policy, as it is now, opens these ports to who may enter."""
    person = workspace.make_person()
    return may_have_tools(workspace) and workspace.site.policy.find_flag(person, "tools")


def list_tools(workspace: WorkspaceSpawner, url: str) -> tuple[ToolLink, ...]:
    """List the buttons of a workspace that runs at ``url``."""
    try:
        are_open = workspace.answers_tools or has_tools(workspace)
    except MLHubError:  # a policy that cannot be read
        are_open = False
    found = workspace.declared_tools if are_open else ()
    return tuple(ToolLink(each.name, f"{url}tools/{each.place}") for each in found)
