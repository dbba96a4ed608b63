"""Commands of the how-to pages for the hub's pod, word for word but for the namespace."""

from __future__ import annotations

import subprocess

import pytest

from tests.support.shell_blocks import find_block


@pytest.mark.parametrize(
    ("page", "said"), [("doctor", b"ok       programs"), ("cleanup", b""), ("backup", b"")]
)
def test_a_command_inside_the_hub_s_pod_does_its_work(release, tmp_path, page, said):
    block = find_block(f"docs/howto/{page}.md", "kubectl --namespace mlhub exec deploy")
    assert release.name == "mlhub"
    script = block.replace("--namespace mlhub", f"--namespace {release.namespace}")
    result = subprocess.run(["sh", "-ec", script], cwd=tmp_path, capture_output=True, timeout=180)
    assert result.returncode == 0, (result.stdout[-2000:], result.stderr[-2000:])
    assert said in result.stdout
    if page == "backup":
        assert (tmp_path / "backup.tar").stat().st_size > 100_000
