"""Values of Zero to JupyterHub, as `mlhub import` carries them: this chart renders them."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from mlhub.migration.outcome import POLICY, VALUES
from mlhub.migration.z2jh import import_z2jh
from mlhub.traits import USER_CONFIG
from tests.support.helm import refusal, select, template

FILES = Path(__file__).parents[1] / "support" / "neighbors"
# Certificates of Let's Encrypt need an issuer, whose name only the site knows.
NEEDS_AN_ISSUER = FILES / "z2jh-course.yaml"
OTHERS = sorted(set(FILES.glob("z2jh-*.yaml")) - {NEEDS_AN_ISSUER})


def write(file: Path, folder: Path) -> list[str]:
    """Write what an import makes; return helm's arguments, as the report names them."""
    for name, text in import_z2jh(file.read_text()).make_files().items():
        (folder / name).write_text(text)
    arguments = ["--values", str(folder / VALUES)]
    for key, name in (("userConfig", USER_CONFIG), ("policy", POLICY)):
        if (folder / name).exists():
            arguments += ["--set-file", f"{key}={folder / name}"]
    return arguments


@pytest.mark.parametrize("file", OTHERS, ids=lambda file: file.name)
def test_the_chart_renders_what_was_imported(file, tmp_path):
    secrets = ["--set", "mlhub.existingSecret=given,mlhub.secretToken="]
    objects = template(*write(file, tmp_path), *secrets)
    held = select(objects, "Secret", "user-config")["data"][USER_CONFIG]
    assert base64.b64decode(held).decode() == (tmp_path / USER_CONFIG).read_text()


def test_what_only_the_site_knows_is_asked_for(tmp_path):
    arguments = write(NEEDS_AN_ISSUER, tmp_path)
    assert "issuerRef" in refusal(*arguments)
    issuer = ["--set", "proxy.https.letsencrypt.issuerRef.name=letsencrypt"]
    assert template(*arguments, *issuer)
