"""Build every image of the product, and those that its tests need."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tools.console import main_with_sentences
from tools.engine import ensure_engine
from tools.images import HUB, TEST_POSTGRES, TEST_STACKS, TEST_WORKSPACE, WORKSPACE, ensure_image, print_layers


def main(arguments: Sequence[str]) -> int:
    """Build and print sizes."""
    ensure_engine()
    for image in (HUB, WORKSPACE, TEST_WORKSPACE, TEST_STACKS, TEST_POSTGRES):
        if not ensure_image(image, force="--force" in arguments):
            print(f"{image.tag} is up to date")
    for image in (HUB, WORKSPACE):
        print_layers(image.tag)
    return 0


if __name__ == "__main__":
    sys.exit(main_with_sentences(main, sys.argv[1:]))
