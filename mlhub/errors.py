"""Every error this product raises on purpose, drawn as a tree.

MLHubError
├── SettingsError        an environment variable (or a file it names) is wrong
├── ConfigurationError   a user config, certificate or mount is wrong
├── WorkspaceError       a workspace can not be what was asked for
│   ├── OptionsError     what a person asked for is malformed or not allowed
│   │   └── FieldsError  the same, field by field (mlhub/workspace/options.py)
│   └── NameTakenError   an object of that name exists and belongs to somebody else
├── SSHKeyError          an SSH key can not be registered
│   ├── PublicKeyError   the text is not one plain public key of a kind that is accepted
│   └── KeyTakenError    the key is registered already
└── BackendError         the place where workspaces run can not do it now
    ├── EngineUnreachableError
    ├── ImageError       the image is missing, can not be pulled, or does not start
    ├── CapacityError    out of disk, memory or addresses
    └── WorkspaceDiedError  the workspace ended before it answered

Each message says what is wrong, the value, and the cure. Nothing here does I/O.
"""

# sysexits.h EX_CONFIG: a program that ends with it would only end so again, so the supervisor ends the container.
EXIT_CONFIGURATION = 78


class MLHubError(Exception):
    """Base of all errors of this product."""

    status_code = 500

    def __str__(self) -> str:
        return " ".join(str(arg) for arg in self.args)


class SettingsError(MLHubError):
    """Report a wrong environment variable."""


class ConfigurationError(MLHubError):
    """Report a wrong user config, certificate or mount."""


class WorkspaceError(MLHubError):
    """Report a workspace that can not be what was asked for."""

    status_code = 400


class OptionsError(WorkspaceError):
    """Report workspace options that are malformed or not allowed."""


class NameTakenError(WorkspaceError):
    """Report an object whose labels do not name the workspace it should belong to."""

    status_code = 409


class SSHKeyError(MLHubError):
    """Report an SSH key that can not be registered."""

    status_code = 400


class PublicKeyError(SSHKeyError):
    """Report a text that is not one plain public key of a kind that is accepted; the text is never repeated."""


class KeyTakenError(SSHKeyError):
    """Report a key that is registered already."""

    status_code = 409


class BackendError(MLHubError):
    """Report that the place where workspaces run can not do it now."""

    status_code = 503


class EngineUnreachableError(BackendError):
    """Report a container engine that does not answer."""


class ImageError(BackendError):
    """Report an image that is missing, can not be pulled or does not start."""

    status_code = 400


class CapacityError(BackendError):
    """Report a lack of disk, memory or network addresses."""


class WorkspaceDiedError(BackendError):
    """Report a workspace that ended before it answered."""
