"""What may be had for one workspace: whose rules hold, and what is asked.

Invariants: nothing here changes what is granted. A hook of the site that sets ``spawner.image``,
``cpu_limit`` or ``mem_limit`` has asked for that value in the person's place.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from jupyterhub.traitlets import ByteSpecification
from traitlets import Enum, Int, List, Unicode
from traitlets.config import LoggingConfigurable

from mlhub.errors import OptionsError, WorkspaceError
from mlhub.options.model import OPTION_NAMES, OPTIONS, FieldsError, WorkspaceOptions
from mlhub.options.option import Host, Option
from mlhub.policy.available import AvailableOptions, find_available_options
from mlhub.policy.circumstances import Circumstances
from mlhub.policy.model import Person, SpawnerDefaults
from mlhub.quantities import format_size
from mlhub.texts import Text, join
from mlhub.workspaces.grant import Grant, StartAttempt, Traits, find_changes
from mlhub.workspaces.hub_state import Site
from mlhub.workspaces.measures import Measures
from mlhub.workspaces.port import ImageInfo
from mlhub.workspaces.sealing import Seal

if TYPE_CHECKING:
    from jupyterhub.spawner import Spawner as _Base
else:
    # Not Spawner itself, which would refuse a class without start(); not object, whose @default is
    # ignored.
    _Base = LoggingConfigurable

# Where JupyterHub has no secret of its own, what is sealed is opened by this process alone.
PROCESS_SECRET = secrets.token_bytes(32)
OWN_FIELD = Text("Administrators name a field of the site's own form in c.Spawner.extra_options.")
DECIDED_TRAITS = ("image", "cpu_limit", "mem_limit")


class WorkspaceRights(Measures, _Base):
    """Tell what one workspace may have, and what is asked for it."""

    policy_file = Unicode(
        "/resources/policy.yaml",
        config=True,
        help="File of the site's policy; where there is none, the defaults hold.",
    )
    extra_options = List(
        Unicode(),
        config=True,
        help=(
            "Names of further options that the site's own form and hooks read; nobody checks them."
        ),
    )

    measure_disk_seconds = Int(
        600,
        min=0,
        config=True,
        help=(
            "Seconds between two measurements of the disk, where the place can tell; more where one"
            " takes long. 0: never, and no total of disk holds."
        ),
    )
    option_names = List(
        Enum(OPTION_NAMES),
        list(OPTION_NAMES),
        config=True,
        help=(
            "Names of the options that mean something where workspaces run. The backend names them."
        ),
    )
    grant = Grant()
    attempt: StartAttempt | None = None

    def __init__(self, **kwargs: Any) -> None:
        """Remember what the site configured."""
        super().__init__(**kwargs)
        self._configured: Traits = self._read_traits()

    @property
    def site(self) -> Site:
        """What all spawners of this hub share."""
        return Site.of(self.policy_file, lambda: self.backend_options)

    @property
    def backend_options(self) -> tuple[Option, ...]:
        """The options that mean something where workspaces run."""
        return tuple(option for name, option in OPTIONS.items() if name in self.option_names)

    # what a backend may tell

    async def read_host(self) -> Host:
        """Tell what the host, or the largest node, has."""
        return Host()

    async def describe_image(self) -> ImageInfo:
        """Tell which image the workspace has, and whether there is a newer one."""
        return {"reference": self.image, "update_available": False}

    async def note_expiry(self) -> None:
        """Write a changed ``expires_at`` where the workspace runs, as far as that can be; the hub's
        database has the last word.
        """

    async def find_update(self) -> str | None:
        """Tell where a newer image is: "local", "registry", or None where none is known."""
        return None

    async def begin_update(self) -> None:
        """Get the newer image and have the next start take it; raise ``WorkspaceError`` where there
        is none.
        """
        raise WorkspaceError(
            Text("The image %(image)s has no newer version here.", image=repr(self.image))
        )

    def list_images(self) -> list[str]:
        """List the images that the site's configuration names, the default one first."""
        return [self.default_image]

    def translate_image(self, choice: Any) -> Any:
        """Return the image behind a name of the site's configuration, or the choice itself."""
        return choice

    def allows_any_image(self) -> bool:
        """Return True if the site's configuration lets everybody use any image."""
        return False

    # whose rules hold, and which

    @property
    def default_image(self) -> str:
        """Image of a start without a choice: the configured one, whatever was chosen meanwhile."""
        return str(self._default_traits["image"])

    def make_defaults(self) -> SpawnerDefaults:
        """Collect the plain traits that mean something to the policy."""
        return SpawnerDefaults(
            image=self.default_image,
            workspace_images=tuple(self.list_images()),
            cpu_limit=self._default_traits["cpu_limit"],
            mem_limit=self._default_traits["mem_limit"],
            custom_images=self.allows_any_image(),
            idle_timeout=self.site.idle.idle_timeout,
            max_age=self.site.idle.max_age,
        )

    def make_owner(self, *, is_admin: bool = False) -> Person:
        """Name the owner of the workspace."""
        return Person(self.user.name, tuple(group.name for group in self.user.groups), is_admin)

    def make_person(self, *, counts_grant: bool = True) -> Person:
        """Tell whose rules hold: the owner's, and those of administrators where one of them asks.

        ``counts_grant``: also where an administrator handed these very options out. That lets the
        owner start them again; it gives no right to anything else.
        """
        lends = self.find_administrator() is not None or (counts_grant and self._is_handed_out())
        return self.make_owner(is_admin=bool(self.user.admin or lends))

    def find_administrator(self) -> str | None:
        """Return the name of the administrator who sent the request at hand, or None."""
        actor = getattr(self.handler, "current_user", None) if self.handler is not None else None
        return str(actor.name) if actor is not None and getattr(actor, "admin", False) else None

    def make_circumstances(self, *, counts_grant: bool = True) -> Circumstances:
        """Put together what a decision about this workspace depends on now.

        ``counts_grant``: see ``make_person``.
        """
        site = self.site
        return Circumstances(
            policy=site.policy,
            person=self.make_person(counts_grant=counts_grant),
            host=site.host,
            defaults=self.make_defaults(),
            reserved=site.ledger.list_reserved(),
            server=self.name,
            now=site.clock(),
            options=self.backend_options,
            disk=None if self.attempt is None else self.attempt.disk,
        )

    def find_available_options(self, *, counts_grant: bool = False) -> AvailableOptions:
        """List what may be asked now; the form counts what was handed out, because it sends that
        again.
        """
        return find_available_options(self.make_circumstances(counts_grant=counts_grant))

    async def make_probe(self) -> Any:
        """Make a spawner of the same workspace to ask about the policy: only a start may change the
        one that starts.
        """
        probe = self.user._new_spawner(self.name)
        probe.handler = self.handler
        await probe.begin_attempt()
        return probe

    async def begin_attempt(self) -> None:
        """Read the host's facts, and the traits as JupyterHub's group overrides leave them."""
        # What hooks of the authenticator set before this is the site's choice as well, not its
        # default.
        chosen = find_changes(self._configured, self._read_traits())
        self._reset_traits()
        await super().apply_group_overrides()
        traits = self._read_traits()
        self.attempt = StartAttempt(traits, traits, chosen, disk=self.find_disk_use())
        self.site.host = await self.read_host()

    # what is asked

    def list_extra(self) -> dict[str, Any]:
        """Return the options that the site itself reads."""
        return {
            name: value
            for name, value in (self.user_options or {}).items()
            if name in self.extra_options
        }

    def list_asked(self) -> dict[str, Any]:
        """Return the person's own options, checked and always written the same way."""
        given = {
            name: value
            for name, value in (self.user_options or {}).items()
            if name not in self.extra_options
        }
        given = self.make_seal().open(given)
        if "image" in given:
            given["image"] = self.translate_image(given["image"])
        try:
            return WorkspaceOptions.from_rest(given).to_user_options()
        except FieldsError as error:
            if not self.has_written("options_form", "options_from_form"):
                raise
            unknown = set(given) - set(WorkspaceOptions.model_fields)
            fields = {
                name: join(text, OWN_FIELD) if name in unknown else text
                for name, text in error.fields.items()
            }
            raise FieldsError(fields, error.rules) from None

    def has_written(self, *traits: str) -> bool:
        """Return True if the site's configuration says something about one of these traits."""
        sections = [self.config.get(section, {}) for section in self.section_names()]
        return any(trait in section for section in sections for trait in traits)

    def make_seal(self, server: str | None = None) -> Seal:
        """Make the seal of this workspace, or of another one of its owner."""
        secret = self.user.settings.get("cookie_secret") or PROCESS_SECRET
        return Seal(secret, self.user.name, self.name if server is None else server)

    def seal_options(self, options: Mapping[str, Any], server: str | None = None) -> dict[str, Any]:
        """Return options as they are kept: secrets are sealed. What the site reads is its own."""
        own = {name: value for name, value in options.items() if name not in self.extra_options}
        return {**options, **self.make_seal(server).seal(own)}

    def read_options(self) -> WorkspaceOptions:
        """Read the person's options and what code of the site chose so far in this attempt."""
        assert self.attempt is not None
        self.attempt = self.attempt.notice(self._read_traits())
        asked, chosen = self.list_asked(), dict(self.attempt.chosen)
        if chosen.get("mem_limit"):
            chosen["mem_limit"] = format_size(chosen["mem_limit"])
        if "image" in chosen:
            asked.pop("is_custom_image", None)
        return WorkspaceOptions.from_rest({**asked, **chosen})

    # parts

    @property
    def _default_traits(self) -> Traits:
        return self._configured if self.attempt is None else self.attempt.defaults

    def _read_traits(self) -> dict[str, Any]:
        found = {name: getattr(self, name, None) for name in DECIDED_TRAITS}
        if isinstance(found["mem_limit"], str):
            # DockerSpawner takes a function here, and leaves what it returns as it is.
            found["mem_limit"] = ByteSpecification().validate(self, found["mem_limit"])
        return found

    def _reset_traits(self) -> None:
        for name, value in self._configured.items():
            setattr(self, name, value)

    def _is_handed_out(self) -> bool:
        """Return True if the options are exactly those that an administrator chose."""
        # First what costs nothing: this is asked of each open session, over and over.
        if self.grant.handed_out is None:
            return False
        try:
            return self.seal_options(self.list_asked()) == self.grant.handed_out
        except OptionsError:
            return False
