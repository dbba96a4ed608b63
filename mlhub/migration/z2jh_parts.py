"""What single values of Zero to JupyterHub's chart come to, where that takes more than a name.
Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mlhub.migration.outcome import POLICY, VALUES, Outcome
from mlhub.migration.python_file import tell_verdict
from mlhub.migration.verdicts import judge
from mlhub.traits import USER_CONFIG

HOME, USER = "/home/jovyan", 1000


class Parts:
    """Carry single values; ``late`` is what has to wait until all of them are known."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self.said: dict[tuple[str, str], Any] = {}
        self.volumes: list[Any] = []
        self.mounts: list[Any] = []
        self.home, self.user = HOME, USER
        self.late: list[Callable[[], None]] = []
        # That chart runs hub.config after its values, and hub.extraConfig last.
        self.config: list[Callable[[], None]] = []
        self.code: list[Callable[[], None]] = []

    def carry_trait(self, key: str, section: str, trait: str, value: Any) -> None:
        """Write a line of the user config, unless its ruling stands against that."""
        verdict = judge("k8s", section, trait, value)
        tell_verdict(key, verdict, self.outcome)
        if verdict.is_kept:
            self.said[verdict.section, verdict.trait] = value
            self.outcome.write_trait(verdict.section, verdict.trait, value)

    def carry_database(self, key: str, kind: Any) -> None:
        """Carry the kind of database."""
        if kind not in ("sqlite-pvc", "sqlite-memory", "mysql", "postgres"):
            self.outcome.leave(key, f"{kind!r}: write c.JupyterHub.db_url into the user config.")
            return
        self.outcome.write_value("hub.db.type", kind)
        self.outcome.carry(key, f"{VALUES}: hub.db.type")

    def carry_pull_secret(self, key: str, secret: Any) -> None:
        """Carry credentials of a registry."""
        place = "hub.imagePullSecret"
        wanted = {"registry", "username", "email", "password"}
        said = {name: value for name, value in secret.items() if name in wanted and value}
        for name in sorted(set(secret) - wanted - {"create", "enabled"}):
            self.outcome.leave(f"{key}.{name}", f"{place} is for hub, proxy and workspaces alike.")
        is_on = bool(secret.get("create") or secret.get("enabled"))
        self.outcome.write_value(place, {"enabled": is_on, **said})
        self.outcome.carry(key, f"{VALUES}: {place}")

    def carry_pull_secrets(self, key: str, secrets: Any) -> None:
        """Carry names of Secrets."""
        names = [each.get("name") if isinstance(each, Mapping) else str(each) for each in secrets]
        self.outcome.write_value("imagePullSecrets", names)
        self.outcome.carry(key, f"{VALUES}: imagePullSecrets")

    def carry_https(self, key: str, kind: Any) -> None:
        """Carry where TLS ends."""
        self.outcome.write_value("proxy.https.type", kind)
        self.outcome.carry(key, f"{VALUES}: proxy.https.type")

    def carry_certificate(self, key: str, secret: Any) -> None:
        """Carry the Secret of a certificate; the names of its keys are others by themselves."""
        said = {"key": "tls.key", "crt": "tls.crt", **secret}
        self.outcome.write_value("proxy.https.secret", said)
        self.outcome.carry(key, f"{VALUES}: proxy.https.secret")

    def carry_environment(self, key: str, environment: Any) -> None:
        """Carry plain variables."""
        if not isinstance(environment, Mapping):
            environment = {each.get("name"): each for each in environment}
        plain = {}
        for name, value in environment.items():
            value = value.get("value", value) if isinstance(value, Mapping) else value
            if isinstance(value, Mapping):
                self.outcome.leave(
                    f"{key}.{name}",
                    "it comes from elsewhere: c.KubeSpawner.extra_container_config ="
                    " {'envFrom': [{'secretRef': {'name': …}}]}.",
                )
            elif value is not None:
                plain[str(name)] = str(value)
        if plain:
            self.carry_trait(key, "KubeSpawner", "environment", plain)

    def carry_home(self, key: str, path: Any) -> None:
        """Carry the folder that holds people's files."""
        self.home = str(path)
        self.outcome.carry(key, f"{USER_CONFIG}: mount_point of the image")

    def carry_user(self, key: str, number: Any) -> None:
        """Carry the user of workspaces."""
        if number in (0, "0"):
            self.outcome.leave(key, "workspaces are not root where Pod Security is restricted.")
            return
        self.user = int(number)
        self.outcome.carry(key, f"{USER_CONFIG}: uid of the image")

    def carry_storage_type(self, key: str, kind: Any) -> None:
        """Carry whether a workspace has a volume."""
        if kind in ("none", "static"):
            self.outcome.policy.setdefault("everyone", {})["is_mount_volume"] = {"default": False}
            self.outcome.carry(key, f"{POLICY}: everyone.is_mount_volume")
        elif kind == "dynamic":
            self.outcome.carry(key, "each workspace has a claim of its own by itself")
        else:
            self.outcome.leave(key, "mount it by c.KubeSpawner.volumes and volume_mounts.")

    def carry_static(self, key: str, static: Any) -> None:
        """Carry one claim for all people."""
        if not static.get("pvcName"):
            return
        self.volumes.append(
            {"name": "home", "persistentVolumeClaim": {"claimName": static["pvcName"]}}
        )
        mount = {"name": "home", "subPath": static.get("subPath", "{username}")}
        self.late.append(lambda: self.mounts.append({"mountPath": self.home, **mount}))
        self.outcome.carry(key, f"{USER_CONFIG}: c.KubeSpawner.volumes and volume_mounts")

    def carry_volumes(self, key: str, entries: Any) -> None:
        """Carry further volumes."""
        entries = list(entries.values()) if isinstance(entries, Mapping) else entries
        is_mount = key.endswith("Mounts")
        (self.mounts if is_mount else self.volumes).extend(entries)
        trait = "volume_mounts" if is_mount else "volumes"
        self.outcome.carry(key, f"{USER_CONFIG}: c.KubeSpawner.{trait}")
