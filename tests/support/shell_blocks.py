"""The shell blocks of README, tutorial and how-to pages, and which test tries each of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^[ ]*```(?:sh|shell|bash|console)\n(.*?)^[ ]*```", re.DOTALL | re.MULTILINE)


class Block(NamedTuple):
    """A block: its page, and what stands in it."""

    page: str
    text: str


def read_blocks() -> list[Block]:
    """Return every block, page by page."""
    pages = [ROOT / "README.md", *sorted(ROOT.glob("docs/tutorial/*.md"))]
    pages += sorted(ROOT.glob("docs/howto/*.md"))
    return [
        Block(str(page.relative_to(ROOT)), block)
        for page in pages
        for block in BLOCK.findall(page.read_text())
    ]


def find_block(page: str, begin: str) -> str:
    """Return the one block of a page that begins so."""
    found = [b.text for b in read_blocks() if b.page == page and b.text.lstrip().startswith(begin)]
    (block,) = found
    return block


# Run word for word: on a machine that has nothing, and on a cluster.
MACHINE = "tests/browser/test_documented_commands.py"
CLUSTER = "tests/chart/test_release.py"
POD = "tests/kube/test_documented_commands.py"
# What a program of a person's own is asked, or a folder of the site's: the same words, with names
# and addresses of the test's.
TRIED = {
    "README.md": {
        "./scripts/up": "tests/image/test_two_commands.py",
        "docker run -p 8080": MACHINE,
        "helm upgrade": CLUSTER,
    },
    "docs/tutorial/first-workspace.md": {"./scripts/up": "tests/image/test_two_commands.py"},
    "docs/howto/apps.md": {"curl": "tests/hub/test_apps.py"},
    "docs/howto/backup.md": {
        "docker": MACHINE,
        "kubectl --namespace mlhub exec deploy": POD,
        "kubectl --namespace mlhub exec --stdin": "tests/kube/test_restore.py",
    },
    "docs/howto/cleanup.md": {"curl": MACHINE, "docker": MACHINE, "kubectl": POD},
    "docs/howto/coming-from-ml-hub.md": {"docker": MACHINE},
    "docs/howto/compose.md": {"docker": "tests/image/test_compose.py"},
    "docs/howto/configure.md": {"docker": MACHINE},
    "docs/howto/doctor.md": {"docker": MACHINE, "kubectl": POD},
    "docs/howto/https.md": {
        "docker run … --env SSL_ENABLED=true --env": MACHINE,
        "docker run … --env SSL_ENABLED=true -v": "tests/image/test_certificates.py",
        "docker run … --env MLHUB_TRUSTED": "tests/image/test_one_port.py",
    },
    "docs/howto/images.md": {"docker": MACHINE},
    "docs/howto/import.md": {"docker": MACHINE},
    "docs/howto/kubernetes.md": {
        "helm": CLUSTER,
        "ssh-keygen": "tests/chart/test_install.py",
        "kubectl": CLUSTER,
    },
    "docs/howto/networks.md": {
        "docker run": "tests/docker/test_egress.py",
        "docker exec": MACHINE,
    },
    "docs/howto/offline.md": {"./scripts": "tests/image/test_release.py"},
    "docs/howto/options.md": {"curl": MACHINE},
    "docs/howto/packages.md": {"docker": "tests/image/test_packages.py"},
    "docs/howto/people.md": {
        "docker exec mlhub mlhub users list": MACHINE,
        "docker exec mlhub mlhub users authorize": "tests/image/test_users.py",
    },
    "docs/howto/policy-classroom.md": {"mlhub": MACHINE},
    "docs/howto/policy-hand-out.md": {"docker": MACHINE},
    "docs/howto/policy-research.md": {"mlhub": MACHINE},
    "docs/howto/record.md": {"docker": MACHINE},
    "docs/howto/schedules.md": {"curl": MACHINE},
    "docs/howto/ssh.md": {"": "tests/image/test_ssh.py"},
    "docs/howto/subdomains.md": {"docker": "tests/browser/test_subdomains.py"},
    "docs/howto/tools.md": {
        "streamlit": "tests/image/test_tool_examples.py",
        "curl": "tests/image/test_port_sharing.py",
    },
    "docs/howto/trash.md": {"mlhub": "tests/hub/test_trash.py"},
    "docs/howto/usage.md": {"curl": MACHINE},
}


def find_test(block: Block) -> str | None:
    """Return the test module that tries a block, or nothing."""
    rows = TRIED.get(block.page, {})
    text = block.text.lstrip()
    return next((test for begin, test in rows.items() if text.startswith(begin)), None)
