"""Build the product's images, and those of its tests; the larger workspaces by name, or all."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tools.console import ToolError, main_with_sentences
from tools.engine import ensure_engine
from tools.images import (
    HUB,
    TEST_POSTGRES,
    TEST_STACKS,
    TEST_WORKSPACE,
    VARIANTS,
    WORKSPACE,
    ensure_image,
    print_layers,
)


def main(arguments: Sequence[str]) -> int:
    """Build and print sizes."""
    if unknown := set(arguments) - {"--all", "--force", *VARIANTS}:
        raise ToolError(
            f"{min(unknown)} is neither an option nor a larger workspace ({', '.join(VARIANTS)})."
            " Usage: ./scripts/build [--force] [--all | NAME…]"
        )
    ensure_engine()
    larger = [VARIANTS[name] for name in VARIANTS if {name, "--all"} & set(arguments)]
    product = (HUB, WORKSPACE, *larger)
    for image in (*product, TEST_WORKSPACE, TEST_STACKS, TEST_POSTGRES):
        if not ensure_image(image, force="--force" in arguments):
            print(f"{image.tag} is up to date")
    for image in product:
        print_layers(image.tag)
    return 0


if __name__ == "__main__":
    sys.exit(main_with_sentences(main, sys.argv[1:]))
