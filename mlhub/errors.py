"""Every error this product raises on purpose, drawn as a tree.

MLHubError
├── SettingsError        an environment variable (or a file it names) is wrong
├── ConfigurationError   a user config, certificate or mount is wrong
├── WorkspaceError       a workspace cannot be what was asked for
│   ├── OptionsError     what a person asked for is malformed or not allowed
│   │   └── FieldsError  the same, field by field (mlhub/options/model.py)
│   ├── NameTakenError   an object of that name exists and belongs to somebody else
│   ├── VolumeGoneError  a volume that should come back was removed for good
│   └── VolumeInUseError a volume that should be removed for good is used by what runs
├── SSHKeyError          an SSH key cannot be registered
│   ├── PublicKeyError   the text is not one plain public key of a kind that is accepted
│   └── KeyTakenError    the key is registered already
├── BackupError          a backup cannot be made, or is not what it says
├── EvidenceError        what was read is no ground to remove anything
├── AnnouncementError    what is to be announced cannot be
├── TooManyAttemptsError passwords are tried too often
└── BackendError         the place where workspaces run cannot do it now
    ├── EngineUnreachableError
    ├── ImageError       the image is missing, cannot be pulled, or does not start
    ├── CapacityError    out of disk, memory or addresses
    └── WorkspaceDiedError  the workspace ended before it answered

Each message says what is wrong, the value, and the cure. Each class has an id of its own, by which
docs/reference/errors.md lists all messages. Nothing here does I/O.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# sysexits.h EX_CONFIG: a program that ends with it would only end so again, so the supervisor ends
# the container.
EXIT_CONFIGURATION = 78


class MLHubError(Exception):
    """Base of all errors of this product.

    ``id`` is the same for ever: people look for it, and a new kind of error gets a new one.
    """

    id = "MLHUB-E001"
    status_code = 500

    def __str__(self) -> str:
        return " ".join(str(arg) for arg in self.args)

    @property
    def numbered(self) -> str:
        """The message, with what leads to its row in the reference."""
        return self.number(str(self))

    @classmethod
    def number(cls, message: str) -> str:
        """Write the id behind a message; what lies below its first line is quoted."""
        sentence, newline, quoted = message.partition("\n")
        colon = ":" if sentence.endswith(":") else ""
        return f"{sentence.removesuffix(colon)} ({cls.id}){colon}{newline}{quoted}"


class SettingsError(MLHubError):
    """Report a wrong environment variable."""

    id = "MLHUB-E010"


class ConfigurationError(MLHubError):
    """Report a wrong user config, certificate or mount."""

    id = "MLHUB-E011"


class WorkspaceError(MLHubError):
    """Report a workspace that cannot be what was asked for."""

    id = "MLHUB-E020"
    status_code = 400


class AnnouncementError(MLHubError):
    """Report what cannot be announced."""

    id = "MLHUB-E060"
    status_code = 400


class OptionsError(WorkspaceError):
    """Report workspace options that are malformed or not allowed."""

    id = "MLHUB-E021"


class WorkspaceBusyError(WorkspaceError):
    """The workspace starts or stops at this moment."""

    id = "MLHUB-E022"
    status_code = 409


class NameTakenError(WorkspaceError):
    """Report an object whose labels do not name the workspace it should belong to."""

    id = "MLHUB-E023"
    status_code = 409


class VolumeGoneError(WorkspaceError):
    """Report a volume that nothing brings back."""

    id = "MLHUB-E024"
    status_code = 404


class VolumeInUseError(WorkspaceError):
    """Report a volume that a running workspace uses."""

    id = "MLHUB-E025"
    status_code = 409


class SSHKeyError(MLHubError):
    """Report an SSH key that cannot be registered."""

    id = "MLHUB-E030"
    status_code = 400


class PublicKeyError(SSHKeyError):
    """Report a text that is not one plain public key of a kind that is accepted; the text is never
    repeated.
    """

    id = "MLHUB-E031"


class KeyTakenError(SSHKeyError):
    """Report a key that is registered already."""

    id = "MLHUB-E032"
    status_code = 409


class BackupError(MLHubError):
    """Report a backup that cannot be made, or that is not what it says it is."""

    id = "MLHUB-E040"


class EvidenceError(MLHubError):
    """Report that what was read is no ground to remove anything."""

    id = "MLHUB-E041"
    status_code = 503


class BackendError(MLHubError):
    """Report that the place where workspaces run cannot do it now."""

    id = "MLHUB-E050"
    status_code = 503


class EngineUnreachableError(BackendError):
    """Report a container engine that does not answer."""

    id = "MLHUB-E051"


class ImageError(BackendError):
    """Report an image that is missing, cannot be pulled or does not start."""

    id = "MLHUB-E052"
    status_code = 400


class CapacityError(BackendError):
    """Report a lack of disk, memory or network addresses."""

    id = "MLHUB-E053"


class WorkspaceDiedError(BackendError):
    """Report a workspace that ended before it answered."""

    id = "MLHUB-E054"


class TooManyAttemptsError(MLHubError):
    """Passwords are tried too often; ``wait`` is the number of seconds until the next try."""

    id = "MLHUB-E042"
    status_code = 429

    def __init__(self, subject: str, wait: float, cure: str = "") -> None:
        minutes = max(1, round(wait / 60))
        super().__init__(
            f"Too many failed attempts for {subject}. Try again in {minutes}"
            f" minute{'s' * (minutes > 1)}.{cure}"
        )
        self.wait = math.ceil(wait)


@contextmanager
def friendly_errors(
    translate: Callable[..., BaseException],
    kinds: type[BaseException] | tuple[type[BaseException], ...] = MLHubError,
) -> Iterator[None]:
    """Raise what ``translate`` makes of an error of these kinds in its place."""
    try:
        yield
    except kinds as error:
        raise translate(error) from error
