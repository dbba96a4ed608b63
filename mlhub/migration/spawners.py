"""What becomes of the traits of spawners that this product has no counterpart of. Pure: no I/O."""

from __future__ import annotations

from mlhub.backends.registry import BackendKind

# Of the traits that all spawners have, those that mean the same for a container.
SHARED = frozenset(
    {
        "args", "cpu_guarantee", "cpu_limit", "debug", "default_url", "environment",
        "http_timeout", "mem_guarantee", "mem_limit", "poll_interval", "post_stop_hook",
        "pre_spawn_hook", "start_timeout",
    }
)  # fmt: skip
KINDS = ("DockerSpawner", "KubeSpawner")
OWN_CLASS = "MLHub"
HOMES = (
    "people's homes of the host are mounted by c.DockerSpawner.volumes, such as"
    " {'/home/{username}': '/workspace/home'}; workspaces are user 1000 or root inside."
)


def judge_foreign_spawner(
    kind: BackendKind, section: str, trait: str
) -> tuple[str, str, str] | None:
    """Return section and trait that say the same here, and why there are none; None for a section
    that is none of a foreign spawner's.
    """
    upstream = kind.upstream.rpartition(".")[2]
    if not section.endswith(("Spawner", "SpawnerBase")) or section in ("Spawner", upstream):
        return None
    if section.startswith(OWN_CLASS):
        return None
    if trait in SHARED:
        return "Spawner", trait, ""
    if section == "SystemUserSpawner":
        shared = kind.rulings()
        if trait in shared and upstream == "DockerSpawner":
            return upstream, trait, ""
        return section, trait, HOMES
    if section in KINDS:
        return section, trait, f"this hub uses {upstream}. Remove it."
    if section in ("ProfilesSpawner", "WrapSpawner"):
        reason = "profiles are images of the policy's catalogue, and rules (docs/howto/images.md)."
        return section, trait, reason
    return section, trait, "there is no such spawner here: workspaces are containers. Remove it."
