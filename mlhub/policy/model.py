"""The site's policy: who may ask for what. Pure: no I/O; ``policy_file`` reads it from YAML.

Invariants: one sentence explains every value. Rules are laid over one another in this order, and
for each key the last one that says something holds, whether that is more or less than before:

1. what the product ships (``BUILT_IN``, for administrators also ``BUILT_IN_ADMINS``),
2. the plain traits of the user config: ``c.Spawner.image``, ``workspace_images``, ``cpu_limit``,
   ``mem_limit``,
3. ``everyone`` of the file,
4. ``groups`` of the person, in the order of the file,
5. ``admins``, for administrators,
6. ``users``, the rule of this very person.

``cpu_limit.max`` and ``cpu_limit.default`` are two keys. A list is one value: a later one replaces
it. Whatever the rules say, no workspace gets what is reserved of the host. Of ``group_total`` alone
several hold at once: one per group.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from pydantic import Field, PrivateAttr, model_validator
from pydantic_core import PydanticCustomError

from mlhub.options.amount import UNLIMITED
from mlhub.options.image_catalogue import CatalogueImage, make_entry
from mlhub.options.model import OPTION_NAMES
from mlhub.options.option import Host, KeyPath, Origin, Setting, Source, StrictModel
from mlhub.policy.rules import GroupRule, Reserve, Rule
from mlhub.quantities import MEBIBYTE, NEVER

EVERYONE = "everyone"

BUILT_IN = Rule.model_validate(
    {
        "images": ["*"],
        "custom_images": False,
        "options": list(OPTION_NAMES),
        "shm_size": {"default": "256M"},
        "gpus": {"default": "none"},
        "days_to_live": {"default": NEVER},
        "is_mount_volume": {"default": True},
        "env": {"allow": ["*"], "deny": []},
        "ssh": True,
        "tools": True,
        "sharing": False,
        "port_sharing": False,
        "publishing": False,
        "idle": {"timeout": UNLIMITED, "max_age": UNLIMITED},
    }
)
BUILT_IN_ADMINS = Rule.model_validate({"custom_images": True})


@dataclass(frozen=True)
class Person:
    """Name the owner of a workspace; an administrator who starts it for somebody lends
    ``is_admin``.
    """

    name: str
    groups: tuple[str, ...] = ()
    is_admin: bool = False


@dataclass(frozen=True)
class SpawnerDefaults:
    """Hold the plain traits of the user config, and what the variables say. A limit of a trait is
    default and, unless a rule gives one, maximum.

    ``idle_timeout`` and ``max_age`` are seconds, None where nobody says anything.
    """

    image: str = ""
    workspace_images: tuple[str, ...] = ()
    cpu_limit: float | None = None
    mem_limit: int | None = None
    custom_images: bool = False
    idle_timeout: float | None = None
    max_age: float | None = None


class SitePolicy(StrictModel):
    """Say which images a site offers and what people may ask for."""

    images: tuple[CatalogueImage, ...] | None = Field(
        default=None,
        description=(
            "The image catalogue, in the order of the form. Unset: `c.Spawner.image` and "
            "`c.Spawner.workspace_images`."
        ),
    )
    reserve: Reserve = Field(default=Reserve(), description="What of the host no workspace gets.")
    everyone: GroupRule = Field(
        default=GroupRule(),
        description="Rule for everybody; its `group_total` limits the whole site.",
    )
    groups: dict[str, GroupRule] = Field(
        default_factory=dict,
        description=(
            "Rules for the members of JupyterHub's groups. The order counts: of two, the later one "
            "holds."
        ),
    )
    admins: Rule = Field(
        default=Rule(),
        description="Rule for administrators, also when they start a workspace for somebody else.",
    )
    users: dict[str, Rule] = Field(default_factory=dict, description="Rules for single people.")

    _origin: Origin = PrivateAttr(default_factory=Origin)

    @model_validator(mode="after")
    def _names_are_known(self) -> SitePolicy:
        if self.images is None:
            return self
        names = [entry.name for entry in self.images]
        for index, name in enumerate(names):
            if name in names[:index]:
                raise _at(
                    ("images", index, "name"),
                    f"the name {name!r} is taken by an entry above. Choose another.",
                )
        for path, rule in self.list_rules():
            for key in ("images", "default_image"):
                value = getattr(rule, key) or ()
                for index, pattern in enumerate((value,) if isinstance(value, str) else value):
                    if not any(fnmatchcase(name, pattern) for name in names):
                        near = difflib.get_close_matches(pattern, names, n=1)
                        cure = (
                            f"Did you mean {near[0]}?"
                            if near
                            else f"There are: {', '.join(names)}."
                        )
                        raise _at(
                            (*path, key, index), f"{pattern!r} is no name of the catalogue. {cure}"
                        )
        return self

    @property
    def origin(self) -> Origin:
        """Where this policy was read."""
        return self._origin

    def with_origin(self, origin: Origin) -> SitePolicy:
        """Return the same policy that knows where it was read."""
        policy = self.model_copy()
        policy._origin = origin
        return policy

    def list_rules(self) -> Iterator[tuple[KeyPath, Rule]]:
        """List all rules of the file with their paths."""
        yield (EVERYONE,), self.everyone
        yield from ((("groups", name), rule) for name, rule in self.groups.items())
        yield ("admins",), self.admins
        yield from ((("users", name), rule) for name, rule in self.users.items())

    def list_matching(self, person: Person) -> Iterator[tuple[KeyPath, Rule]]:
        """List the rules of the file that hold for a person, in the order in which they are laid
        over one another.
        """
        yield (EVERYONE,), self.everyone
        for name, rule in self.groups.items():
            if name in person.groups:
                yield ("groups", name), rule
        if person.is_admin:
            yield ("admins",), self.admins
        if person.name in self.users:
            yield ("users", person.name), self.users[person.name]

    def find_flag(self, person: Person, name: str) -> bool:
        """Return what the rules for a person say now of something that is on or off as a whole."""
        said = [getattr(rule, name) for _, rule in self.list_matching(person)]
        return bool(([getattr(BUILT_IN, name)] + [each for each in said if each is not None])[-1])

    def list_catalogue(self, defaults: SpawnerDefaults) -> tuple[CatalogueImage, ...]:
        """List the images that the site offers at all."""
        if self.images is not None:
            return self.images
        return tuple(
            make_entry(image)
            for image in dict.fromkeys([defaults.image, *defaults.workspace_images])
            if image
        )


def resolve_settings(
    policy: SitePolicy, person: Person, defaults: SpawnerDefaults
) -> dict[str, Setting]:
    """Lay all rules for a person over one another: dotted key → value and where it comes from."""
    settings: dict[str, Setting] = {}
    for key, value in _flatten(BUILT_IN):
        settings[key] = Setting(value, Source("built-in default"))
    if person.is_admin:
        settings.update(
            {
                key: Setting(value, Source("built-in default for administrators"))
                for key, value in _flatten(BUILT_IN_ADMINS)
            }
        )
    settings.update(_read_traits(defaults))
    for path, rule in policy.list_matching(person):
        for key, value in _flatten(rule):
            if not key.startswith("group_total."):
                settings[key] = Setting(value, make_source(policy, path, key))
    return settings


def list_group_totals(policy: SitePolicy, person: Person) -> list[tuple[str, dict[str, Setting]]]:
    """List the totals of everyone and of each group of a person: name of the group → kind of total
    → limit.
    """
    totals = []
    for path, rule in policy.list_matching(person):
        if isinstance(rule, GroupRule) and rule.group_total is not None:
            found = {
                key.removeprefix("group_total."): Setting(value, make_source(policy, path, key))
                for key, value in _flatten(rule)
                if key.startswith("group_total.")
            }
            totals.append((str(path[-1]) if len(path) > 1 else "", found))
    return totals


def make_source(policy: SitePolicy, path: KeyPath, key: str) -> Source:
    """Name a key of a rule and its line."""
    return Source(".".join(map(str, (*path, key))), policy.origin.place((*path, *key.split("."))))


def find_host_limit(policy: SitePolicy, host: Host, name: str) -> Setting | None:
    """Return the most that any workspace gets of ``cpu_limit`` or ``mem_limit``, or None where the
    host is not known.
    """
    whole = {"cpu_limit": host.cpus, "mem_limit": host.memory_bytes}[name]
    if not whole:
        return None
    share = max(whole / 2, whole - getattr(policy.reserve, name))
    limit = (
        math.floor(share * 100) / 100 if name == "cpu_limit" else int(share) // MEBIBYTE * MEBIBYTE
    )
    place = policy.origin.place(("reserve", name)) if "reserve" in policy.model_fields_set else ""
    return Setting(limit, Source("the host without what is reserved for the hub", place))


def _read_traits(defaults: SpawnerDefaults) -> Iterator[tuple[str, Setting]]:
    if defaults.image:
        yield "default_image", Setting(defaults.image, Source("c.Spawner.image"))
    if defaults.custom_images:
        yield "custom_images", Setting(True, Source("c.DockerSpawner.allowed_images"))
    for name in ("cpu_limit", "mem_limit"):
        if value := getattr(defaults, name):
            yield f"{name}.default", Setting(value, Source(f"c.Spawner.{name}"))
            yield f"{name}.max", Setting(value, Source(f"c.Spawner.{name}"))
    if defaults.idle_timeout is not None:
        yield "idle.timeout", Setting(defaults.idle_timeout, Source("MLHUB_CULL_TIMEOUT"))
    if defaults.max_age is not None:
        yield "idle.max_age", Setting(defaults.max_age, Source("MLHUB_CULL_MAX_AGE"))


def _flatten(rule: StrictModel, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name in type(rule).model_fields:
        value = getattr(rule, name)
        if isinstance(value, StrictModel):
            yield from _flatten(value, f"{prefix}{name}.")
        elif value is not None:
            yield prefix + name, value


def _at(path: KeyPath, sentence: str) -> PydanticCustomError:
    # The path stands in the context: a validator of the whole file cannot raise at one of its keys.
    return PydanticCustomError("at_key", "{sentence}", {"path": path, "sentence": sentence})
