"""Say what is being done and how long it took; run commands."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = Path(
    os.environ.get("MLHUB_CACHE")
    or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mlhub"
)


class ToolError(Exception):
    """A sentence for the person at the terminal."""


@contextlib.contextmanager
def stage(title: str) -> Iterator[None]:
    """Print the title at once and the seconds when it is done."""
    print(f"==> {title} ...", flush=True)
    began = time.monotonic()
    try:
        yield
    except BaseException:
        print(f"    failed after {time.monotonic() - began:.1f} s: {title}", flush=True)
        raise
    print(f"    {time.monotonic() - began:.1f} s", flush=True)


def run(
    *command: str | Path,
    quiet: bool = False,
    log: Path | None = None,
    env: dict[str, str] | None = None,
    cwd: Path = ROOT,
) -> None:
    """Run a command to its end; with ``log`` its output goes to that file and is shown only on
    failure.

    Raises ``ToolError`` with the last lines of output when it fails.
    """
    words = [str(word) for word in command]
    if not quiet and log is None:
        result = subprocess.run(words, cwd=cwd, env=env)
        if result.returncode:
            raise ToolError(f"`{' '.join(words)}` ended with code {result.returncode}.")
        return
    log = log or CACHE / "last-command.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        result = subprocess.run(
            words,
            cwd=cwd,
            env=env,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )
    if result.returncode:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-30:])
        raise ToolError(
            f"{tail}\n`{' '.join(words)}` ended with code {result.returncode}. All of its output:"
            f" {log}"
        )


def read(
    *command: str | Path, timeout: float = 60, env: dict[str, str] | None = None
) -> str | None:
    """Return a command's output, or None when it fails or does not exist."""
    try:
        result = subprocess.run(
            [str(word) for word in command],
            capture_output=True,
            text=True,
            timeout=timeout,
            env=env,
            cwd=ROOT,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() if result.returncode == 0 else None


def main_with_sentences(main, arguments: Sequence[str]) -> int:
    """Run ``main`` and turn a ``ToolError`` into its sentence and exit code 1."""
    try:
        return main(arguments) or 0
    except ToolError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return 130
