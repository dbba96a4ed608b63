"""What a decision about one person's options depends on, put together. Pure: no I/O."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from mlhub.options.image import ChosenImage
from mlhub.options.model import ALL_OPTIONS, OPTIONS, WorkspaceOptions
from mlhub.options.option import Host, Option, Refusal, Request, Setting, Source
from mlhub.policy.disk import DiskUse
from mlhub.policy.model import (
    Person,
    SitePolicy,
    SpawnerDefaults,
    find_host_limit,
    resolve_settings,
)
from mlhub.policy.quota import Reservation
from mlhub.policy.safe import list_safe_settings
from mlhub.texts import Text


@dataclass(frozen=True)
class Circumstances:
    """Hold all that a decision depends on beside what is asked.

    ``reserved`` is what runs or is just starting, of all people. ``server`` is the name of the
    workspace in question. ``now`` is in seconds since the epoch. ``options`` are those that mean
    something where the workspace runs. ``disk`` is what the owner's files take, None where nobody
    has measured it.
    """

    policy: SitePolicy
    person: Person
    host: Host = field(default_factory=Host)
    defaults: SpawnerDefaults = field(default_factory=SpawnerDefaults)
    reserved: tuple[Reservation, ...] = ()
    server: str = ""
    now: float = 0.0
    options: tuple[Option, ...] = ALL_OPTIONS
    disk: DiskUse | None = None

    def of(self, person: Person) -> Circumstances:
        """Return the same circumstances for somebody else."""
        return replace(self, person=person)

    def find_foreign(self, asked: Iterable[str]) -> dict[str, Refusal]:
        """Refuse what was asked and means nothing where the workspace runs."""
        own = {option.name for option in self.options}
        return {
            name: Refusal(
                name,
                Text("%(name)s means nothing where this workspace runs. Leave it out.", name=name),
            )
            for name in asked
            if name in OPTIONS and name not in own
        }

    def list_others(self) -> list[Reservation]:
        """List what runs beside the workspace in question."""
        own = (self.person.name, self.server)
        return [reservation for reservation in self.reserved if reservation.key != own]

    def make_request(self, options: WorkspaceOptions) -> Request:
        """Put together all that the choices depend on."""
        settings = resolve_settings(self.policy, self.person, self.defaults)
        return Request(
            asked=options.list_asked(),
            settings={**settings, **list_safe_settings(self.policy, self.host, settings)},
            host=self.host,
            catalogue=self.policy.list_catalogue(self.defaults),
            host_limits={
                name: find_host_limit(self.policy, self.host, name)
                for name in ("cpu_limit", "mem_limit")
            },
            origin=self.policy.origin,
        )


def refuse_choice(name: str, barrier: Setting, cure: str) -> Refusal:
    """Make the refusal of an option that cannot be set at all."""
    sentence = Text("%(name)s cannot be chosen here. %(cure)s", name=name, cure=cure)
    return Refusal(name, sentence, barrier.source)


def find_barrier(request: Request, name: str, image: ChosenImage | None) -> Setting | None:
    """Return what keeps an option from being set at all, or None."""
    if name not in request.settings["options"].value:
        return request.settings["options"]
    entry = image.entry if image else None
    if (
        entry is not None
        and entry.options is not None
        and name not in entry.options
        and name != "image"
    ):
        place = request.origin.place(("images", request.catalogue.index(entry), "options"))
        return Setting(entry.options, Source(f"images.{entry.name}.options", place))
    return None
