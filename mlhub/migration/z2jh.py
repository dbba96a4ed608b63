"""Import the values of Zero to JupyterHub's chart. Pure: a tree of values becomes ours."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import yaml

from mlhub.errors import ConfigurationError
from mlhub.migration import z2jh_auth
from mlhub.migration.outcome import VALUES, Outcome
from mlhub.migration.profiles import carry_profiles
from mlhub.migration.python_file import carry_python, tell_who_may_sign_in
from mlhub.migration.z2jh_keys import DROPPED, RENAMED, SAME, TRAITS
from mlhub.migration.z2jh_parts import Parts

# A chart that has Zero to JupyterHub's in it names its values by this.
PART = "jupyterhub"
TOP = ("hub", "singleuser", "proxy")
COMMAND = ["jupyterhub-singleuser"]
EMPTY: tuple[Any, ...] = (None, "", {}, [])
FILES = "what it says goes into config.yaml; what workspaces are, into jupyterhub_user_config.py."


def import_z2jh(text: str, name: str = "values.yaml") -> Outcome:
    """Import a file of values. Raises ``ConfigurationError`` for what is none."""
    values = read_tree(text, name)
    importer = Importer(Outcome("k8s"))
    part = values.get(PART)
    if isinstance(part, dict) and any(key in part for key in TOP):
        importer.prefix = f"{PART}."
        for key in values:
            if key != PART:
                importer.outcome.leave(
                    key, "it belongs to another chart than Zero to JupyterHub's."
                )
        values = part
    importer.walk(values)
    importer.finish(values)
    return importer.outcome


def read_tree(text: str, name: str) -> dict[str, Any]:
    """Read a YAML file whose top is a map. Raises ``ConfigurationError``."""
    try:
        tree = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"{name} is no YAML: {error}. Correct it.") from None
    if tree is not None and not isinstance(tree, dict):
        raise ConfigurationError(f"{name} holds a {type(tree).__name__}, not a map of settings.")
    return {str(key): value for key, value in (tree or {}).items()}


class Importer(Parts):
    """Go through a tree of values."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome)
        self.prefix = ""
        self.handlers: dict[str, Callable[[str, Any], None]] = {
            "auth": self.carry_auth,
            "hub.config": self.carry_config,
            "hub.db.type": self.carry_database,
            "hub.extraConfig": self.carry_code,
            "hub.loadRoles": self.carry_named,
            "hub.services": self.carry_named,
            "imagePullSecret": self.carry_pull_secret,
            "imagePullSecrets": self.carry_pull_secrets,
            "singleuser.imagePullSecret": self.carry_pull_secret,
            "proxy.https.secret": self.carry_certificate,
            "proxy.https.type": self.carry_https,
            "singleuser.extraEnv": self.carry_environment,
            "singleuser.profileList": self.carry_profiles,
            "singleuser.storage.extraVolumeMounts": self.carry_volumes,
            "singleuser.storage.extraVolumes": self.carry_volumes,
            "singleuser.storage.homeMountPath": self.carry_home,
            "singleuser.storage.static": self.carry_static,
            "singleuser.storage.type": self.carry_storage_type,
            "singleuser.uid": self.carry_user,
        }
        self.known = {*self.handlers, *SAME, *RENAMED, *TRAITS, *DROPPED}

    def walk(self, values: Mapping[str, Any], above: str = "") -> None:
        """Carry each key, as far down as something is known of it."""
        for name, value in values.items():
            path = f"{above}{name}"
            key = self.prefix + path
            if path in SAME:
                self.outcome.write_value(path, value)
                self.outcome.carry(key, f"{VALUES}: {path}")
            elif any(known.startswith(f"{path}.") for known in self.known) and isinstance(
                value, Mapping
            ):
                self.walk({str(each): one for each, one in value.items()}, f"{path}.")
            elif value not in EMPTY:
                self.carry(path, key, value)

    def carry(self, path: str, key: str, value: Any) -> None:
        """Carry one key that says something."""
        if path in self.handlers:
            self.attempt(key, lambda: self.handlers[path](key, value))
        elif path in RENAMED:
            self.outcome.write_value(RENAMED[path], value)
            self.outcome.carry(key, f"{VALUES}: {RENAMED[path]}")
        elif path in TRAITS:
            section, _, trait = TRAITS[path].partition(".")
            self.carry_trait(key, section, trait, as_trait(trait, value))
        elif path in DROPPED:
            self.outcome.leave(key, DROPPED[path])
        else:
            self.outcome.leave(key, f"neither chart has such a value. Look for its like: {FILES}")

    def attempt(self, key: str, carry: Callable[[], None]) -> None:
        """Carry what may have another shape than that chart's."""
        try:
            carry()
        except (AttributeError, KeyError, TypeError, ValueError):
            self.outcome.leave(key, "it has another shape than that chart's own. Correct it.")

    def carry_config(self, key: str, config: Any) -> None:
        """Carry traits that are named by their classes, behind what values say."""
        self.config.append(lambda: self.attempt(key, lambda: self._carry_config(key, config)))

    def _carry_config(self, key: str, config: Any) -> None:
        for section, traits in config.items():
            if not isinstance(traits, Mapping):
                self.outcome.leave(f"{key}.{section}", "it names no traits of a class. Correct it.")
                continue
            for trait, value in traits.items():
                if value is not None:
                    self.carry_trait(f"{key}.{section}.{trait}", str(section), str(trait), value)

    def carry_code(self, key: str, code: Any) -> None:
        """Carry pieces of Python, in the order in which that chart runs them."""
        pieces = code if isinstance(code, Mapping) else {"": code}
        for name in sorted(pieces, key=str):
            place = f"{key}.{name}" if name else key
            text = str(pieces[name] or "")
            self.code.append(lambda text=text, place=place: self.carry_piece(place, text))  # type: ignore[misc]

    def carry_piece(self, place: str, text: str) -> None:
        """Carry one piece of Python, behind what was told by values."""
        if re.search(r"^\s*(from|import) z2jh\b", text, re.MULTILINE):
            self.outcome.lines += ["", *(f"# {line}".rstrip() for line in text.splitlines())]
            self.outcome.leave(
                place,
                "it asks z2jh for values. They stand in /etc/jupyterhub/config/values.yaml here;"
                " the code is a comment in jupyterhub_user_config.py.",
            )
            return
        self.outcome.lines += ["", f"# {place}"]
        try:
            self.said |= carry_python(text, place, self.outcome)
        except ConfigurationError as error:
            self.outcome.leave(place, str(error))

    def carry_auth(self, key: str, auth: Any) -> None:
        """Carry what that chart had before ``hub.config``."""
        self.config.append(lambda: self.attempt(key, lambda: self._carry_auth(key, auth)))

    def _carry_auth(self, key: str, auth: Any) -> None:
        for path, section, trait, value in z2jh_auth.read(auth):
            if section:
                self.carry_trait(f"{key}.{path}", section, trait, value)
            elif trait:
                self.outcome.carry(f"{key}.{path}", self.outcome.write_variable(trait, value))
            else:
                self.outcome.leave(f"{key}.{path}", str(value))

    def carry_named(self, key: str, entries: Any) -> None:
        """Carry services and roles, which are lists of JupyterHub's with names in them."""
        if isinstance(entries, Mapping):
            entries = [{"name": name, **(entry or {})} for name, entry in entries.items()]
        entries = [{snake(str(k)): v for k, v in entry.items()} for entry in entries]
        trait = "services" if key.endswith("services") else "load_roles"
        self.carry_trait(key, "JupyterHub", trait, entries)

    def carry_profiles(self, key: str, profiles: Any) -> None:
        """Carry profiles, when the image of those that name none is known."""
        self.late.append(lambda: self.attempt(key, lambda: self._carry_profiles(key, profiles)))

    def finish(self, values: Mapping[str, Any]) -> None:
        """Write what several keys say together, and what that chart does without a word."""
        for each in self.late:
            each()
        for trait, entries in (("volumes", self.volumes), ("volume_mounts", self.mounts)):
            if entries:
                self.outcome.write_trait("KubeSpawner", trait, entries)
        self._tell_of_images(values)
        self._tell_of_defaults(values)
        for each in (*self.config, *self.code):
            each()
        tell_who_may_sign_in(self.said, self.outcome)

    def _carry_profiles(self, key: str, profiles: Any) -> None:
        image = find_image(self.outcome.values)
        catalogue = carry_profiles(key, profiles, image, self.outcome)
        for entry in self.outcome.policy.get("images", ()):
            entry |= {"mount_point": self.home, "notebook_dir": self.home, "uid": self.user}
        if catalogue.images and not image:
            self.outcome.note(key, "profiles without an image have this product's own workspace.")

    def _tell_of_images(self, values: Mapping[str, Any]) -> None:
        image = find_image(self.outcome.values)
        if not image:
            if not self.outcome.policy.get("images"):
                self.outcome.note(
                    "singleuser.image", "none is named: workspaces have our own image."
                )
            return
        said = {"mount_point": self.home, "notebook_dir": self.home, "uid": self.user}
        self.outcome.write_trait("Spawner", "image_settings", {image: said})
        singleuser = values.get("singleuser") or {}
        if "cmd" not in singleuser:
            self.outcome.write_trait("Spawner", "cmd", COMMAND)

    def _tell_of_defaults(self, values: Mapping[str, Any]) -> None:
        cull = values.get("cull") or {}
        if "enabled" not in cull:
            self.outcome.write_value("cull.enabled", True)
            self.outcome.note("cull.enabled", "that chart stops idle workspaces by itself; kept.")
        if ("JupyterHub", "allow_named_servers") not in self.said:
            self.outcome.write_trait("JupyterHub", "allow_named_servers", False)
            self.outcome.note(
                "hub.allowNamedServers",
                "people have one workspace there; remove the line for more.",
            )
        https = (values.get("proxy") or {}).get("https") or {}
        if https.get("enabled") and not https.get("type"):
            self.outcome.write_value("proxy.https.type", "letsencrypt")
        is_acme = https.get("enabled") and https.get("type", "letsencrypt") == "letsencrypt"
        if is_acme and not https.get("letsencrypt"):
            self.outcome.note("proxy.https", DROPPED["proxy.https.letsencrypt"])
        self.outcome.note(
            "hub.db.pvc",
            "the hub's database there is on the claim hub-db-dir: hub.db.pvc.existingClaim goes on"
            " with it (docs/howto/kubernetes.md).",
        )


def find_image(values: Mapping[str, Any]) -> str:
    """Return the reference of the workspaces' image, "" where none is named."""
    image = (values.get("singleuser") or {}).get("image") or {}
    name, tag = image.get("name") or "", image.get("tag")
    return f"{name}:{tag}" if name and tag else str(name)


def as_trait(trait: str, value: Any) -> Any:
    """Return a value as its trait wants it: maps of that chart's are lists there."""
    if trait in ("extra_containers", "init_containers") and isinstance(value, Mapping):
        return list(value.values())
    if trait == "cmd" and isinstance(value, str):
        return [value]
    return value


def snake(name: str) -> str:
    """Write apiToken as api_token."""
    return re.sub(r"(?<=[a-z0-9])([A-Z])", lambda found: f"_{found[1].lower()}", name)
