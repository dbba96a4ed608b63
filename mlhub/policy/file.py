"""Read the site's policy from YAML, with the line of every key, and follow the file as it changes.

Invariants: a broken file is a ``ConfigurationError`` with file, line and reason, never a half-read
policy. While the hub runs, a broken or vanished file leaves the last good policy in force.

PyYAML reads it: ``compose`` hands out nodes with line numbers, and JupyterHub itself depends on it.
Numbers stay the text they are, so that YAML 1.1's surprises (``010`` is 8, ``1:30`` is 90) never
happen.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from mlhub import quantities as values
from mlhub.errors import ConfigurationError
from mlhub.options.model import ALL_OPTIONS
from mlhub.options.option import Option
from mlhub.policy.foreign import refuse_foreign_keys
from mlhub.policy.model import KeyPath, Origin, SitePolicy

MAX_BYTES = 2**20
MAX_DEPTH = 12
MAX_NODES = 100_000

_REASONS = {
    "model_type": "is not a mapping of keys to values. Indent the keys below it.",
    "model_attributes_type": "is not a mapping of keys to values. Indent the keys below it.",
    "dict_type": "is not a mapping of keys to values. Indent the keys below it.",
    "tuple_type": "is not a list. Begin each entry with '- '.",
    "missing": "is missing.",
}


def read_policy(text: str, file: str = "policy.yaml") -> SitePolicy:
    """Read a policy from text; raise ``ConfigurationError`` with ``file:line: reason``, one line
    for each mistake.
    """
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{file}:{mark.line + 1}" if mark else file
        raise ConfigurationError(
            f"{place}: this is not YAML: {error.problem or error.context}. Correct the line."
        ) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position if isinstance(error.position, int) else 0) + 1
        raise ConfigurationError(
            f"{file}:{line}: this is not YAML: {error.reason}. Remove the character."
        ) from None
    except RecursionError:
        raise ConfigurationError(
            f"{file}: this is nested deeper than any policy. Compare it with the reference page."
        ) from None
    reader = _Reader(file)
    data = reader.convert(node, ()) if node is not None else None
    try:
        policy = SitePolicy.model_validate({} if data is None else data)
    except ValidationError as error:
        raise ConfigurationError(
            "\n".join(_make_sentence(detail, reader.origin) for detail in error.errors()[:20])
        ) from None
    return policy.with_origin(reader.origin)


def load_policy(path: Path, options: tuple[Option, ...] = ALL_OPTIONS) -> SitePolicy:
    """Read a policy file, where these options mean something; raise ``ConfigurationError``."""
    policy = _load(path)[0]
    refuse_foreign_keys(policy, options)
    return policy


class PolicyFile:
    """Follow one policy file: ``current`` is always a policy that was good."""

    def __init__(
        self,
        path: Path,
        log: logging.Logger | None = None,
        options: tuple[Option, ...] = ALL_OPTIONS,
    ) -> None:
        """Remember the path, and which options mean something here; nothing is read yet."""
        self.path, self._options = path, options
        self.problem = ""
        self._log = log or logging.getLogger("mlhub.policy")
        self._policy: SitePolicy | None = None
        self._seen: tuple[int, ...] | None = None

    def current(self) -> SitePolicy:
        """Return the policy in force, reading the file again where it changed.

        Without a file the defaults hold. The first read raises ``ConfigurationError`` where the
        file is broken, so that a hub does not start with rules nobody wrote; later ones log what is
        wrong and keep the last good policy.
        """
        seen = _stat(self.path)
        if self._policy is not None and seen == self._seen:
            return self._policy
        if seen is None:
            self._miss()
        else:
            self._reload(seen)
        assert self._policy is not None
        return self._policy

    def _miss(self) -> None:
        if self._policy is None:
            self._policy = SitePolicy()
        elif self._seen is not None:
            self._refuse(
                f"{self.path} is gone. Put it back, or start the hub anew to work without a policy"
                " file."
            )
        self._seen = None

    def _reload(self, seen: tuple[int, ...]) -> None:
        is_first = self._policy is None
        try:
            policy, signature = _load(self.path)
            refuse_foreign_keys(policy, self._options)
            self._policy, self._seen = policy, signature
        except ConfigurationError as error:
            if is_first:
                raise
            self._seen = seen
            self._refuse(str(error))
            return
        self.problem = ""
        if not is_first:
            self._log.info("Read %s: the new policy is in force", self.path)

    def _refuse(self, problem: str) -> None:
        self.problem = problem
        self._log.error("The policy in force stays as it was. %s", problem)


class _Reader:
    """Turn YAML nodes into plain data, noting the line of every key."""

    def __init__(self, file: str) -> None:
        self.lines: dict[KeyPath, int] = {}
        self.origin = Origin(file, self.lines)
        self._nodes = 0

    def convert(self, node: yaml.Node, path: KeyPath) -> Any:
        self._nodes += 1
        line = node.start_mark.line + 1
        # An alias stands for its whole node again: without a limit a few lines become gigabytes.
        if self._nodes > MAX_NODES or len(path) > MAX_DEPTH:
            raise self._error(
                line,
                "this is larger or nested deeper than any policy. Compare it with the reference"
                " page.",
            )
        self.lines.setdefault(path, line)
        if isinstance(node, yaml.MappingNode):
            return self._convert_mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.convert(child, (*path, index)) for index, child in enumerate(node.value)]
        kind = node.tag.rpartition(":")[2]
        if kind == "null":
            return None
        if kind == "bool":
            return values.parse_flag(node.value)
        return node.value

    def _convert_mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        data = {}
        for key_node, child in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise self._error(line, "a key is not text. Write e.g. everyone:")
            key = key_node.value
            if key in data:
                raise self._error(line, f"{key} stands here a second time. Put both together.")
            self.lines[*path, key] = line
            data[key] = self.convert(child, (*path, key))
        # A key without a value says nothing.
        return {key: value for key, value in data.items() if value is not None}

    def _error(self, line: int, reason: str) -> ConfigurationError:
        return ConfigurationError(f"{self.origin.file}:{line}: {reason}")


def _make_sentence(detail: Any, origin: Origin) -> str:
    path: KeyPath = tuple(detail["loc"])
    context = detail.get("ctx") or {}
    reason = _REASONS.get(detail["type"], detail["msg"].removeprefix("Value error, "))
    if detail["type"] == "unknown_key":
        place, where = origin.place((*path, context["key"])), ".".join(map(str, path))
        return f"{place}: {where}{': ' if where else ''}{reason}"
    if detail["type"] == "at_key":
        path = context["path"]
    elif detail["type"] == "literal_error":
        reason = f"is none of {context.get('expected')}."
    shown = (
        detail["input"]
        if isinstance(detail["input"], str | bool) and detail["type"] != "at_key"
        else None
    )
    value = "" if shown is None else f"={values.show(shown)}"
    return f"{origin.place(path)}: {'.'.join(map(str, path)) or 'the file'}{value} {reason}"


def _stat(path: Path) -> tuple[int, ...] | None:
    try:
        return _sign(path.stat())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        # Not readable is not the same as not there: reading it will tell why.
        return (error.errno or 0,)


def _sign(status: os.stat_result) -> tuple[int, ...]:
    return (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino, status.st_dev)


def _load(path: Path) -> tuple[SitePolicy, tuple[int, ...]]:
    try:
        with path.open("rb") as stream:
            # The signature is taken before reading: what is written meanwhile is seen the next
            # time.
            signature = _sign(os.fstat(stream.fileno()))
            content = stream.read(MAX_BYTES + 1)
    except IsADirectoryError:
        raise ConfigurationError(
            f"{path} is a directory; Docker makes one where the file to mount does not exist."
            " Create the file, then create the container anew."
        ) from None
    except FileNotFoundError:
        raise ConfigurationError(
            f"{path} does not exist. Create it, or name another file."
        ) from None
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be read ({error.strerror}). Make it readable for the hub."
        ) from None
    if len(content) > MAX_BYTES:
        raise ConfigurationError(
            f"{path} is larger than {MAX_BYTES // 1024} KiB, no policy is. Mount the right file."
        )
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigurationError(
            f"{path}:{line}: this is not UTF-8. Save the file as UTF-8."
        ) from None
    return read_policy(text, str(path)), signature
