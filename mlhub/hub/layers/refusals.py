"""All that is wrong with a site's file, told at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mlhub.errors import ConfigurationError, MLHubError
from mlhub.hub.layers.userconfig import Lines
from mlhub.traits import RefusedLineError


class Refusals:
    """Gather refusals and warnings about a file whose lines are known."""

    def __init__(self, lines: Lines | None = None) -> None:
        self.lines = lines or {}
        self.sentences: list[str] = []
        self.warnings: list[str] = []
        self.unexpected: Exception | None = None

    @contextmanager
    def gather(self) -> Iterator[None]:
        """Take an error of ours down, and go on after the block.

        What a value of the wrong type breaks is kept until it is known whether that is told.
        """
        try:
            yield
        except MLHubError as error:
            self.add(error)
        except (AttributeError, TypeError, ValueError) as error:
            self.unexpected = self.unexpected or error

    def add(self, error: MLHubError) -> None:
        """Take a refusal down, with file and line where they are known."""
        if isinstance(error, RefusedLineError):
            sentence = error.tell(self.find_place(error.section, error.trait))
        else:
            sentence = str(error)
        if sentence not in self.sentences:
            self.sentences.append(sentence)

    def find_place(self, section: str, trait: str) -> str:
        """Return file and line that set a trait, "" where no line is known."""
        return self.lines.get((section, trait), "")

    def warn(self, section: str, trait: str, sentence: str) -> None:
        """Take down what does not keep the hub from starting."""
        place = self.find_place(section, trait)
        name = f"c.{section}.{trait}" if trait else f"c.{section}"
        self.warnings.append(f"{place}: {name} {sentence}" if place else f"{name} {sentence}")

    def raise_all(self) -> None:
        """Raise all refusals as one ``ConfigurationError``, one line for each."""
        if self.sentences:
            raise ConfigurationError("\n".join(self.sentences))
        if self.unexpected is not None:
            raise self.unexpected
