"""Where the site's policy meets a start: nothing is started that ``decide`` did not grant.

Promise: options are checked before the site's own hooks see them, and what those hooks leave behind is checked again;
between that decision and the start nothing is read from anywhere else. What is granted counts against the totals from
the moment of the decision until the workspace is stopped.

A hook of the site that sets ``spawner.image``, ``cpu_limit`` or ``mem_limit`` has asked for that value in the person's place.

A refusal leaves things as they were: JupyterHub has already stored the options and calls ``stop()`` after the failed
start, so the last accepted options are put back and that one ``stop()`` does nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from jupyterhub.traitlets import ByteSpecification
from traitlets import List, Unicode, default
from traitlets.config import LoggingConfigurable

from mlhub.errors import OptionsError, WorkspaceError
from mlhub.workspace.decision import Decision, decide, decide_kept
from mlhub.workspace.expiry import extend_expiry, limit_expiry, make_expiry, renew_expiry
from mlhub.workspace.offer import Offer, make_offer
from mlhub.workspace.options import FieldsError, WorkspaceOptions
from mlhub.workspace.policy import Host, Person, SpawnerDefaults
from mlhub.workspace.quota import Holding
from mlhub.workspace.site import Site
from mlhub.workspace.values import format_number, format_size

if TYPE_CHECKING:
    from jupyterhub.spawner import Spawner as _Base
else:
    # Not Spawner itself, which would refuse a class without start(); not object, whose @default is ignored.
    _Base = LoggingConfigurable

DECIDED_TRAITS = ("image", "cpu_limit", "mem_limit")


class PolicyEnforcement(_Base):
    """Decide what one workspace gets, and remember what was granted."""

    policy_file = Unicode("/resources/policy.yaml", config=True, help="File of the site's policy; where there is none, the defaults hold.")
    extra_options = List(
        Unicode(), config=True, help="Names of further options that the site's own form and hooks read; nobody checks them."
    )

    decision: Decision | None = None
    accepted_options: dict[str, Any]
    granted_options: dict[str, Any] | None = None
    expires_at: int | None = None
    refusal: FieldsError | None = None
    refused_options: Any = None
    _holding: Holding | None = None
    _refused = False

    def __init__(self, **kwargs: Any) -> None:
        """Begin without options; remember what the site configured."""
        self.accepted_options = {}
        self._site_choices: dict[str, Any] = {}
        super().__init__(**kwargs)
        self._configured = self._read_traits()
        self._defaults = self._settled = self._configured

    @property
    def site(self) -> Site:
        """What all spawners of this hub share."""
        return Site.of(self.policy_file)

    # what a backend may tell

    async def read_host(self) -> Host:
        """Tell what the host, or the largest node, has."""
        return Host()

    async def describe_image(self) -> dict[str, Any]:
        """Tell which image the workspace has, and whether there is a newer one."""
        return {"reference": self.image, "update_available": False}

    async def note_expiry(self) -> None:
        """Write a changed ``expires_at`` where the workspace runs, as far as that can be; the hub's database has the last word."""

    async def begin_update(self) -> None:
        """Get the newer image and have the next start take it; raise ``WorkspaceError`` where there is none."""
        raise WorkspaceError(f"The image {self.image!r} has no newer version here.")

    def list_images(self) -> list[str]:
        """List the images that the site's configuration names, the default one first."""
        return [self._defaults["image"]]

    def translate_image(self, choice: Any) -> Any:
        """Return the image behind a name of the site's configuration, or the choice itself."""
        return choice

    def allows_any_image(self) -> bool:
        """Tell whether the site's configuration lets everybody use any image."""
        return False

    # asked before a start

    def make_defaults(self) -> SpawnerDefaults:
        """Collect the plain traits that mean something to the policy."""
        return SpawnerDefaults(
            image=self._defaults["image"],
            workspace_images=tuple(self.list_images()),
            cpu_limit=self._defaults["cpu_limit"],
            mem_limit=self._defaults["mem_limit"],
            custom_images=self.allows_any_image(),
        )

    def make_person(self, *, counts_grant: bool = True) -> Person:
        """Tell whose rules hold: the owner's, and those of administrators where one of them asks.

        ``counts_grant``: also where an administrator handed these very options out. That lets the owner start them again; it gives no
        right to anything else.
        """
        actor = getattr(self.handler, "current_user", None) if self.handler is not None else None
        is_admin = bool(self.user.admin or getattr(actor, "admin", False) or (counts_grant and self._is_granted()))
        return Person(self.user.name, tuple(group.name for group in self.user.groups), is_admin)

    def make_offer(self, *, counts_grant: bool = False) -> Offer:
        """List what may be asked now; the form counts what was handed out, because it sends that again."""
        person = self.make_person(counts_grant=counts_grant)
        return make_offer(self.site.policy, person, host=self.site.host, defaults=self.make_defaults())

    def check(self, options: WorkspaceOptions) -> Decision:
        """Decide about options without counting anything; raise ``FieldsError``."""
        site = self.site
        return decide(
            site.policy,
            self.make_person(),
            options,
            held=site.ledger.list_held(),
            host=site.host,
            defaults=self.make_defaults(),
            server=self.name,
        )

    async def make_probe(self) -> Any:
        """Make a spawner of the same workspace to ask about the policy: only a start may change the one that starts."""
        probe = self.user._new_spawner(self.name)
        probe.handler = self.handler
        await probe.refresh_defaults()
        return probe

    async def refresh_defaults(self) -> None:
        """Read the host's facts, and the traits as JupyterHub's group overrides leave them."""
        # What hooks of the authenticator set before this is the site's choice as well, not its default.
        self._site_choices = self._list_changes()
        for name, value in self._configured.items():
            setattr(self, name, value)
        await super().apply_group_overrides()
        self._defaults = self._settled = self._read_traits()
        self.site.host = await self.read_host()

    # within a start, in this order

    def check_before_hooks(self) -> None:
        """Refuse malformed and forbidden options before any code of the site sees them."""
        self.refusal, self.refused_options, self._refused = None, None, False
        self.check(self._read_options())
        # The site's hooks see values that are checked, and always written the same way.
        self.user_options = {**self._list_extra(), **self._list_asked()}

    def reserve(self) -> Decision:
        """Decide about what the hooks left, and count it from now on."""
        site, options = self.site, self._read_options()
        decision = site.ledger.reserve(
            site.policy, self.make_person(), options, server=self.name, host=site.host, defaults=self.make_defaults()
        )
        self._apply(decision)
        self.expires_at = self._plan_expiry(decision)
        return decision

    def take_over(self, found: Mapping[str, Any]) -> bool:
        """Decide about a workspace that runs already, by what it holds, and count that; tell whether it may go on."""
        site = self.site
        assert self.decision is not None
        facts = {"held": site.ledger.list_held(), "host": site.host, "defaults": self.make_defaults(), "server": self.name}
        kept = decide_kept(site.policy, self._read_options(), found, self.decision, **facts)
        if kept is None:
            return False
        self._apply(kept)
        site.ledger.record(kept.to_holding(self.name))
        return True

    def accept_options(self) -> None:
        """Remember the options of a start that went well, and whether an administrator chose them."""
        person, asked = self.make_person(), self._list_asked()
        self.accepted_options = {**self._list_extra(), **asked}
        self.user_options = dict(self.accepted_options)
        self.granted_options = asked if person.is_admin and not self.user.admin and not self._is_own_right() else None
        self._store_options()

    def release(self) -> None:
        """Count this workspace no longer."""
        if self._holding is not None:
            self.site.ledger.release(*self._holding.key)
            self._holding = None

    def put_back_options(self, error: OptionsError) -> None:
        """Undo that JupyterHub stored refused options."""
        self._refused = True
        # What a form sent is still with the form; what a start was refused for would be lost here.
        self.refused_options = self.user_options if getattr(self, "_start_pending", False) else None
        self.refusal = error if isinstance(error, FieldsError) else None
        self.user_options = dict(self.accepted_options)
        self._store_options()

    def extend(self, days: Any) -> int:
        """Put the expiry so many days ahead of now; raise ``FieldsError`` where the policy does not allow it."""
        person = self.make_person(counts_grant=False)
        self.expires_at = extend_expiry(self.site.policy, person, days, self.site.clock(), self.make_defaults())
        return self.expires_at

    def describe_limits(self) -> dict[str, str]:
        """Tell what the workspace holds while it runs, as text."""
        held = self._holding
        if held is None:
            return {}
        return {
            "cpu_limit": "unlimited" if held.cpu_limit is None else format_number(held.cpu_limit),
            "mem_limit": "unlimited" if held.mem_limit is None else format_size(held.mem_limit),
            "gpus": "all" if held.gpus is None else str(held.gpus),
        }

    # what survives a restart of the hub

    def load_state(self, state: dict[str, Any]) -> None:
        """Read back what get_state wrote, and count a workspace that runs."""
        super().load_state(state)
        self.accepted_options = dict(state.get("accepted_options") or {})
        self.granted_options = state.get("granted_options")
        self.expires_at = state.get("expires_at")
        # Only of a server that JupyterHub believes to run: what was stopped a moment ago counts no longer.
        if state.get("holding") and self.orm_spawner is not None and self.orm_spawner.server is not None:
            self._holding = Holding.from_state(state["holding"])
            self.site.ledger.record(self._holding)

    def get_state(self) -> dict[str, Any]:
        """Return what must survive a restart of the hub."""
        kept = {"accepted_options": self.accepted_options, "granted_options": self.granted_options, "expires_at": self.expires_at}
        if self._holding is not None:
            kept["holding"] = self._holding.to_state()
        return {**super().get_state(), **kept}

    @default("apply_user_options")
    def _default_apply_user_options(self) -> Any:
        # The policy's decision is applied after the site's hook; without any hook JupyterHub logs a warning.
        return lambda spawner, options: None

    # parts

    def _apply(self, decision: Decision) -> None:
        self.decision, self._holding = decision, decision.to_holding(self.name)
        self.image, self.cpu_limit, self.mem_limit = decision.image.reference, decision.cpu_limit, decision.mem_limit
        self._settled = self._read_traits()

    def _read_traits(self) -> dict[str, Any]:
        found = {name: getattr(self, name, None) for name in DECIDED_TRAITS}
        if isinstance(found["mem_limit"], str):
            # DockerSpawner takes a function here, and leaves what it returns as it is.
            found["mem_limit"] = ByteSpecification().validate(self, found["mem_limit"])
        return found

    def _list_changes(self) -> dict[str, Any]:
        return {name: value for name, value in self._read_traits().items() if value != self._settled[name]}

    def _list_extra(self) -> dict[str, Any]:
        return {name: value for name, value in (self.user_options or {}).items() if name in self.extra_options}

    def _list_asked(self) -> dict[str, Any]:
        """Return the person's own options, checked and always written the same way."""
        given = {name: value for name, value in (self.user_options or {}).items() if name not in self.extra_options}
        if "image" in given:
            given["image"] = self.translate_image(given["image"])
        return WorkspaceOptions.from_rest(given).to_user_options()

    def _read_options(self) -> WorkspaceOptions:
        """Read the person's options and what the site's hooks set since we last looked."""
        self._site_choices |= self._list_changes()
        asked = self._list_asked()
        if not self._site_choices:
            return WorkspaceOptions.from_rest(asked)
        chosen = dict(self._site_choices)
        if chosen.get("mem_limit"):
            chosen["mem_limit"] = format_size(chosen["mem_limit"])
        if "image" in chosen:
            asked.pop("is_custom_image", None)
        return WorkspaceOptions.from_rest({**asked, **chosen})

    def _is_granted(self) -> bool:
        """Tell whether the options are exactly those that an administrator chose."""
        try:
            return self.granted_options is not None and self._list_asked() == self.granted_options
        except OptionsError:
            return False

    def _is_own_right(self) -> bool:
        """Tell whether the owner would have got the same alone."""
        site, owner = self.site, Person(self.user.name, tuple(group.name for group in self.user.groups))
        try:
            alone = decide(site.policy, owner, self._read_options(), host=site.host, defaults=self.make_defaults(), server=self.name)
        except OptionsError:
            return False
        return self.decision is not None and alone.describe() == self.decision.describe()

    def _plan_expiry(self, decision: Decision) -> int:
        now, days = self.site.clock(), decision.days_to_live
        asked = self._list_asked().get("days_to_live")
        if self.expires_at is None or (asked is not None and asked != self.accepted_options.get("days_to_live")):
            return make_expiry(days, now)
        if 0 < self.expires_at <= now:
            # What was handed out has run its time: another one is for whoever may choose it now.
            return renew_expiry(self.site.policy, self.make_person(counts_grant=False), days, now, self.make_defaults())
        return limit_expiry(self.site.policy, decision.person, self.expires_at, now, self.make_defaults())

    def _store_options(self) -> None:
        if self.orm_spawner is not None:
            # JupyterHub commits this together with its own record of the start.
            self.orm_spawner.user_options = dict(self.user_options)
