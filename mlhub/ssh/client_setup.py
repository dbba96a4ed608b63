"""The text that sets up an OpenSSH client: configuration to paste, and one command for each system
that writes it.

Invariants: pure but for reading templates. Whatever goes into a text was checked against a narrow
set of characters, so that what a person pastes into a terminal holds nothing of anybody's making
but the hub's.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from mlhub.errors import OptionsError
from mlhub.ssh.alias import is_host, is_suffix, make_alias
from mlhub.ssh.public_keys import parse_public_key

UNIX, WINDOWS = "unix", "windows"
SYSTEMS = (UNIX, WINDOWS)


@dataclass(frozen=True)
class Site:
    """What a client must know of this hub: the bastion (host and port), its names, and the
    authority that signs host keys.

    Raises ``OptionsError`` for anything but host names, addresses, ports and a public key.
    """

    host: str
    port: int
    suffix: str
    authority: str

    def __post_init__(self) -> None:
        """Refuse what could mean something to a shell or to OpenSSH."""
        if not is_host(self.host) or not 1 <= self.port <= 65535:
            raise OptionsError(
                f"{self.host[:200]!r}, port {self.port}, is not where an SSH client can connect "
                "to. Name a host name or address."
            )
        if not is_suffix(self.suffix):
            raise OptionsError(
                f"{self.suffix[:200]!r} cannot end the names of workspaces. Set MLHUB_HOSTNAMES to "
                "the hub's host name."
            )
        object.__setattr__(self, "authority", parse_public_key(self.authority).line)

    @property
    def bastion(self) -> str:
        """Name of the hub's bastion in the client's configuration."""
        return f"{self.suffix}-bastion"

    @property
    def config_file(self) -> str:
        """File under ``~/.ssh`` that holds our part of the configuration."""
        return f"config.d/mlhub-{self.suffix}"

    @property
    def known_hosts_file(self) -> str:
        """File under ``~/.ssh`` that holds the authority; not beside the other, which many people
        include by wildcard.
        """
        return f"mlhub-{self.suffix}.known_hosts"

    @property
    def include(self) -> str:
        """Line that the person's own ``~/.ssh/config`` gets."""
        return f"Include {self.config_file}"


def make_client_config(site: Site, resources: Path, system: str = UNIX) -> str:
    """Make the part of ``~/.ssh/config`` that serves all present and future workspaces."""
    # By its full name: Windows looks for no extension when a program starts another one.
    return _render(resources, "config.j2", site=site, ssh="ssh.exe" if system == WINDOWS else "ssh")


def make_known_hosts(site: Site, resources: Path) -> str:
    """Make the one line by which a client knows the hub and its workspaces."""
    return _render(resources, "known_hosts.j2", site=site)


def make_pasteable_config(site: Site, resources: Path, system: str = UNIX) -> str:
    """Make the same configuration for those who write their files by hand; a comment holds the line
    of the other file.
    """
    lines = [
        f"# Put this line into ~/.ssh/{site.known_hosts_file}:",
        f"# {make_known_hosts(site, resources)}",
    ]
    return "\n".join(lines) + make_client_config(site, resources, system)


def make_setup_command(site: Site, resources: Path, system: str, user: str) -> str:
    """Make the command that writes both files and includes them.

    Running it again changes nothing.
    """
    return _render(
        resources,
        "setup.ps1.j2" if system == WINDOWS else "setup.sh.j2",
        site=site,
        config=make_client_config(site, resources, system),
        known_hosts=make_known_hosts(site, resources),
        example=make_alias(user, "", site.suffix),
    )


def make_removal_command(site: Site, resources: Path, system: str) -> str:
    """Make the command that takes away what the set-up wrote, and nothing else."""
    return _render(resources, "remove.ps1.j2" if system == WINDOWS else "remove.sh.j2", site=site)


def _render(resources: Path, template: str, **values: object) -> str:
    return (
        _make_environment(resources / "templates" / "ssh-client")
        .get_template(template)
        .render(**values)
    )


@lru_cache(maxsize=4)
def _make_environment(directory: Path) -> Environment:
    # Plain text: nothing to escape for HTML, and nothing in it that needs escaping (see Site).
    return Environment(
        loader=FileSystemLoader(directory),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701
    )
