"""Look at each line of a site's file: a trait that is refused, a value that it cannot have, a name
that nothing knows. What each trait comes to is ruled beside the code that it concerns.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from traitlets import HasTraits, TraitError
from traitlets.config import Config, Configurable, DeferredConfig

from mlhub.backends.registry import find_kind, list_ours
from mlhub.hub.layers import rulings
from mlhub.hub.layers.additions import read_said
from mlhub.hub.layers.classes import Classes
from mlhub.hub.layers.fact import SECRET_TRAITS
from mlhub.hub.layers.refusals import Refusals
from mlhub.hub.layers.sections import MISSING
from mlhub.settings import Settings
from mlhub.traits import Outcome, RefusedLineError, Ruling, Rulings, check_value

# Their values are classes, which are found and judged before.
CLASS_TRAITS = ("authenticator_class", "proxy_class", "spawner_class")
GROUPS = "group_overrides"
SHOWN_CHARACTERS = 200
# Sections with these ends name what a hub has one of; another one's say nothing here.
KINDS = ("Spawner", "Authenticator", "Proxy")
# Classes of Jupyter's servers, which run in workspaces.
OF_WORKSPACES = ("ServerApp", "NotebookApp", "LabApp", "HubOAuth", "SingleUserNotebookApp")
SECRETS = (*SECRET_TRAITS, "secret", "token", "password")


def check(
    c: Config,
    written: Mapping[tuple[str, str], Any],
    classes: Classes,
    settings: Settings,
    refusals: Refusals,
) -> None:
    """Check what a site has written, by section and trait, against the classes that its hub has."""
    ruled = rulings.list_rulings(find_kind(settings.execution_mode), classes)
    warn_of_sections({section for section, _ in written}, classes, refusals)
    for (section, trait), value in written.items():
        used = [cls for cls in classes if section in _list_names(cls)]
        reached = used or find_loaded(section)
        if not reached or isinstance(value, DeferredConfig):
            continue
        known = [cls for cls in reached if trait in cls.class_trait_names(config=True)]
        if not known:
            warn_of_trait(section, trait, reached, refusals)
            continue
        if not used or c[section].get(trait) is not value:
            # Not ours to judge; what the deployment says in other words.
            continue
        for cls in known:
            said: Any = MISSING
            with refusals.gather():
                said = read_said(c, cls, section, trait, value)
            if said is not MISSING:
                check_said(ruled, cls, section, trait, said, refusals)


def check_said(
    ruled: Mapping[type, Rulings],
    cls: type[HasTraits],
    section: str,
    trait: str,
    value: Any,
    refusals: Refusals,
) -> None:
    """Check what one line says about a trait that its class has."""
    with refusals.gather():
        check_type(cls, section, trait, value)
    with refusals.gather():
        judge(rulings.find(ruled, cls, trait), section, trait, value, refusals)
    if trait == GROUPS:
        with refusals.gather():
            judge_groups(ruled, cls, section, value)


def judge(ruling: Ruling | None, section: str, trait: str, value: Any, refusals: Refusals) -> None:
    """Refuse a value, or warn of one that has no effect.

    Raises ``RefusedLineError``.
    """
    if ruling is None:
        return
    if ruling.outcome is Outcome.WITHOUT_EFFECT:
        refusals.warn(section, trait, f"has no effect: {ruling.sentence}")
    check_value(ruling, section, trait, value, show(trait, value))


def judge_groups(
    ruled: Mapping[type, Rulings], cls: type[HasTraits], section: str, value: Any
) -> None:
    """Check what a site lays over its spawner's traits for groups of people; a function of its own
    says it at each start.

    Raises ``RefusedLineError``.
    """
    for name, entry in value.items() if isinstance(value, Mapping) else ():
        overrides = entry.get("spawner_override") if isinstance(entry, Mapping) else None
        for trait, one in (overrides or {}).items():
            where = f"{name!r} sets {trait} to {show(trait, one)}"
            if not hasattr(cls, trait):
                near = difflib.get_close_matches(trait, cls.class_trait_names(config=True), n=1)
                cure = f" Did you mean {near[0]}?" if near else ""
                raise RefusedLineError(
                    section, GROUPS, "a dict", f"{where}: there is no such trait.{cure} Correct it."
                )
            try:
                ruling = rulings.find(ruled, cls, trait)
                if ruling is not None and not callable(one):
                    check_value(ruling, section, trait, one, "")
            except RefusedLineError as error:
                reason = f"{where}: {error.reason}"
                raise RefusedLineError(section, GROUPS, "a dict", reason) from error


def check_type(cls: type[HasTraits], section: str, trait: str, value: Any) -> None:
    """Check that a trait can have a value at all.

    Raises ``RefusedLineError``.
    """
    if trait in CLASS_TRAITS:
        return
    # An object whose traits are there, and which was never made: nothing is opened or started.
    bare = cls.__new__(cls)
    bare._cross_validation_lock = True
    try:
        cls.class_traits()[trait]._validate(bare, value)
    except TraitError as error:
        text = " ".join(str(error).split())
        text = text[:1].lower() + text[1:]
        if not may_show(trait, value):
            text = _tell_type(cls, trait, text)
        raise RefusedLineError(section, trait, show(trait, value), f"{text} Correct it.") from error
    except Exception:  # noqa: BLE001, S110
        # A type that wants to know more than an object which was never made: it says so later.
        pass


def warn_of_trait(
    section: str, trait: str, reached: list[type[HasTraits]], refusals: Refusals
) -> None:
    """Warn of a name that no class of this hub knows, with the nearest one."""
    names = sorted({name for cls in reached for name in cls.class_trait_names(config=True)})
    near = difflib.get_close_matches(trait, names, n=1)
    cure = f"Did you mean c.{section}.{near[0]}?" if near else "Correct it, or remove the line."
    refusals.warn(section, trait, f"has no effect: {reached[0].__name__} has no such trait. {cure}")


def warn_of_sections(sections: set[str], classes: Classes, refusals: Refusals) -> None:
    """Warn of sections that reach nothing of this hub."""
    names = {name for cls in classes for name in _list_names(cls)}
    others = {kind.spawner_name for kind in list_ours()} - names
    for section in sorted(sections - names):
        place = next((key for key in refusals.lines if key[0] == section), (section, ""))
        ends = [end for end in KINDS if section.endswith(end)]
        near = difflib.get_close_matches(section, sorted(names), n=1, cutoff=0.9)
        if near and section not in others:
            refusals.warn(*place, f"has no effect. Did you mean c.{near[0]}?")
        elif ends:
            used = next((c.__name__ for c in classes if ends[0] in _list_names(c)), "another class")
            refusals.warn(*place, f"has no effect: this hub uses {used}.")
        elif section in OF_WORKSPACES:
            refusals.warn(*place, "has no effect here: it belongs into the workspace's own file.")
        elif not find_loaded(section):
            refusals.warn(
                *place,
                "has no effect, unless code of your own reads it: the hub has no class of that"
                " name.",
            )


def find_loaded(name: str) -> list[type[HasTraits]]:
    """Find configurable classes of this process by their name."""
    found: list[type[HasTraits]] = []
    rest: list[type[HasTraits]] = [Configurable]
    while rest:
        cls = rest.pop()
        found += [cls] if cls.__name__ == name else []
        rest += cls.__subclasses__()
    return found


def may_show(trait: str, value: Any) -> bool:
    """Return True for what is no secret and holds none."""
    is_plain = value is None or isinstance(value, str | int | float)
    return is_plain and not any(word in trait for word in SECRETS)


def show(trait: str, value: Any) -> str:
    """Show a value, shortened; never a secret's, nor of what may hold one, more than its type."""
    if any(word in trait for word in SECRETS):
        return "another value"
    if not may_show(trait, value):
        return f"a {type(value).__name__}"
    text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"


def _tell_type(cls: type[HasTraits], trait: str, text: str) -> str:
    """Tell what traitlets says of a type that is wrong, without the value."""
    named = f"the {trait!r} trait of a {cls.__name__}"
    before_value = text.partition(", not ")[0]
    if wanted := before_value.partition(" which expected ")[2]:
        return f"an element of {named} expected {wanted}."
    return f"{named} expected {cls.class_traits()[trait].info()}."


def _list_names(cls: type) -> set[str]:
    return {base.__name__ for base in cls.__mro__} - {"object"}
