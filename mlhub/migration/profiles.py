"""What KubeSpawner's profiles become: images of the policy's catalogue, and limits of a rule. Pure:
no I/O.

A profile ties a size to an image; a rule of the policy says who may have which size, with whatever
image. So the default profile's size is the default, and the largest is the maximum.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mlhub.migration.outcome import POLICY, Outcome
from mlhub.quantities import parse_cores, parse_memory

SIZES: Mapping[str, Callable[[Any], float]] = {
    "cpu_limit": parse_cores,
    "mem_limit": parse_memory,
}
GPU = "nvidia.com/gpu"
OF_A_PROFILE = ("display_name", "slug", "description", "default", "kubespawner_override")
CURE = (
    "the policy ties nothing but settings of the image to an image. Set it for all by"
    " c.KubeSpawner.{0}, or for groups by c.Spawner.group_overrides."
)


@dataclass
class Size:
    """The sizes that profiles name: default and largest."""

    default: Any = None
    largest: Any = None
    number: float = 0


@dataclass
class Catalogue:
    """What all profiles come to."""

    images: dict[str, dict[str, str]] = field(default_factory=dict)  # reference → entry
    default_image: str = ""
    sizes: dict[str, Size] = field(default_factory=dict)


def carry_profiles(key: str, profiles: Any, image: str, outcome: Outcome) -> Catalogue:
    """Write the policy of a list of profiles; ``image`` is the one of those that name none."""
    catalogue = Catalogue()
    if not isinstance(profiles, list) or not all(isinstance(each, dict) for each in profiles):
        outcome.leave(key, "it is no list of profiles. Write images and rules into policy.yaml.")
        return catalogue
    default = next((each for each in profiles if each.get("default")), profiles[0])
    for index, profile in enumerate(profiles):
        place = f"{key}[{index}]"
        is_default = profile is default
        _carry_override(place, profile, profile, image, is_default, catalogue, outcome)
        for name, option in (profile.get("profile_options") or {}).items():
            _carry_option(f"{place}.profile_options.{name}", option, profile, catalogue, outcome)
        for name in sorted(set(profile) - {*OF_A_PROFILE, "profile_options"}):
            outcome.leave(f"{place}.{name}", "say who gets what by the policy's rules for groups.")
    _write(catalogue, outcome)
    outcome.note(
        key, "a size belongs to a person's rule here, not to an image: read policy.yaml through."
    )
    return catalogue


def make_name(text: str, taken: Iterator[str] | Mapping[str, Any]) -> str:
    """Make a name of the catalogue of a profile's title."""
    name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60].strip("-") or "image"
    names, number = set(taken), 2
    while name in names:
        name, number = f"{name.rstrip('0123456789').rstrip('-')}-{number}", number + 1
    return name


def _carry_option(
    key: str, option: Any, profile: Mapping[str, Any], catalogue: Catalogue, outcome: Outcome
) -> None:
    option = option if isinstance(option, Mapping) else {}
    for name, choice in (option.get("choices") or {}).items():
        title = {
            "display_name": f"{profile.get('display_name', '')} {choice.get('display_name', name)}"
        }
        _carry_override(
            f"{key}.choices.{name}", {**choice, **title}, profile, "", False, catalogue, outcome
        )
    unlisted = option.get("unlisted_choice") or {}
    if unlisted.get("enabled") and "image" in (unlisted.get("kubespawner_override") or {}):
        _everyone(outcome)["custom_images"] = True
        outcome.carry(f"{key}.unlisted_choice", f"{POLICY}: everyone.custom_images")
        if unlisted.get("validation_regex"):
            outcome.leave(
                f"{key}.unlisted_choice.validation_regex",
                "write shell patterns as everyone.custom_images, such as [quay.io/jupyter/*].",
            )
    elif unlisted.get("enabled"):
        outcome.leave(f"{key}.unlisted_choice", "people write sizes into the form by themselves.")


def _carry_override(
    key: str,
    profile: Mapping[str, Any],
    parent: Mapping[str, Any],
    image: str,
    is_default: bool,
    catalogue: Catalogue,
    outcome: Outcome,
) -> None:
    override = profile.get("kubespawner_override") or {}
    reference = override.get("image") or image
    if reference and reference not in catalogue.images:
        names = {entry["name"]: "" for entry in catalogue.images.values()}
        title = str(
            profile.get("slug") or profile.get("display_name") or parent.get("display_name") or ""
        )
        words = [profile.get("display_name"), profile.get("description")]
        catalogue.images[reference] = {
            "name": make_name(title, names),
            "image": str(reference),
            "description": ": ".join(str(word).strip() for word in words if word),
        }
    if reference and is_default:
        catalogue.default_image = catalogue.images[reference]["name"]
    if reference:
        outcome.carry(key, f"{POLICY}: images, {catalogue.images[reference]['name']}")
    for trait, value in override.items():
        if trait == "image":
            continue
        path = f"{key}.kubespawner_override.{trait}"
        if trait in SIZES:
            _take_size(path, trait, value, SIZES[trait], is_default, catalogue, outcome)
        elif trait == "extra_resource_limits" and set(value or {}) == {GPU}:
            _take_size(path, "gpus", value[GPU], float, is_default, catalogue, outcome)
        elif trait in ("cpu_guarantee", "mem_guarantee"):
            place = f"singleuser.{'cpu' if trait[0] == 'c' else 'memory'}.guarantee"
            outcome.leave(path, f"what is guaranteed is the same for all: {place} in config.yaml.")
        else:
            outcome.leave(path, CURE.format(trait))


def _take_size(
    path: str,
    name: str,
    value: Any,
    read: Callable[[Any], float],
    is_default: bool,
    catalogue: Catalogue,
    outcome: Outcome,
) -> None:
    try:
        number = read(value)
    except (TypeError, ValueError) as error:
        outcome.leave(path, f"{value!r} {error}")
        return
    size = catalogue.sizes.setdefault(name, Size())
    if is_default:
        size.default = value
    if number >= size.number:
        size.largest, size.number = value, number
    outcome.carry(path, f"{POLICY}: everyone.{name}")


def _write(catalogue: Catalogue, outcome: Outcome) -> None:
    rule = _everyone(outcome)
    if catalogue.images:
        outcome.policy = {"images": [*catalogue.images.values()], **outcome.policy}
        if catalogue.default_image:
            rule["default_image"] = catalogue.default_image
    for name, size in catalogue.sizes.items():
        default = size.default if name != "gpus" else None
        said = {"default": default, "max": int(size.number) if name == "gpus" else size.largest}
        rule[name] = {key: value for key, value in said.items() if value is not None}
    if not rule:
        outcome.policy.pop("everyone")


def _everyone(outcome: Outcome) -> dict[str, Any]:
    found: dict[str, Any] = outcome.policy.setdefault("everyone", {})
    return found
