"""What a release says of itself: what is in its images, its versions, notes and checksums."""

from __future__ import annotations

import io
import json
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from mlhub import __version__

ROOT = Path(__file__).parents[2]
STATUS = """Package: tini
Status: install ok installed
Version: 0.19.0-1+b2

Package: gone
Status: deinstall ok config-files
Version: 1

"""
METADATA = "Metadata-Version: 2.4\nName: Ruamel.YAML_x\nVersion: 1.2\nLicense-Expression: MIT\n"
FILES = {
    "var/lib/dpkg/status": STATUS,
    "opt/x/lib/python3.13/site-packages/ruamel_yaml_x-1.2.dist-info/METADATA": METADATA,
    "opt/chp/node_modules/@a/b/package.json": json.dumps({"name": "@a/b", "version": "3"}),
    "opt/chp/node_modules/@a/b/lib/package.json": json.dumps({"type": "module"}),
    "etc/shadow": "root:*:20000:0:::::\n",
}


@pytest.fixture(scope="module", autouse=True)
def tools():
    sys.path.insert(0, str(ROOT / "scripts"))
    yield
    sys.path.remove(str(ROOT / "scripts"))


def make_archive(files: dict[str, str], mtime: int = 1, mode: int = 0o644) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime, member.mode, member.uname = len(text), mtime, mode, "me"
            archive.addfile(member, io.BytesIO(text.encode()))
    return target.getvalue()


def read(files: dict[str, str], **options: int):
    from tools.release.contents import read_archive

    with tarfile.open(fileobj=io.BytesIO(make_archive(files, **options))) as archive:
        return read_archive(archive)


def test_the_packages_of_an_image_are_found_without_running_it():
    urls = {package.url for package in read(FILES).packages}
    assert urls == {
        "pkg:deb/debian/tini@0.19.0-1%2Bb2",
        "pkg:pypi/ruamel-yaml-x@1.2",
        "pkg:npm/%40a/b@3",
    }


def test_neither_the_hour_nor_what_the_engine_adds_is_content():
    day_later = FILES | {"etc/shadow": "root:*:20001:0:::::\n", "etc/hosts": "1", "dev/null": ""}
    day_later |= {"var/cache/ldconfig/aux-cache": "b", ".dockerenv": ""}
    assert sorted(read(day_later, mtime=2).entries) == sorted(read(FILES).entries)


@pytest.mark.parametrize(
    ("files", "options"),
    [
        (FILES | {"etc/shadow": "root::20000:0:::::\n"}, {}),
        (FILES | {"etc/new": ""}, {}),
        (FILES, {"mode": 0o755}),
    ],
)
def test_a_file_its_rights_and_its_text_are_content(files, options):
    assert sorted(read(files, **options).entries) != sorted(read(FILES).entries)


def test_the_list_of_packages_is_cyclonedx_and_the_same_for_the_same_image():
    from tools.release.sbom import make_sbom

    contents = read(FILES)
    contents.digest = "sha256:1"
    made = make_sbom("mltooling/ml-hub", "3.0.0", "2026-01-01T00:00:00Z", contents)
    assert made == make_sbom("mltooling/ml-hub", "3.0.0", "2026-01-01T00:00:00Z", read_again())
    assert (made["bomFormat"], made["specVersion"]) == ("CycloneDX", "1.6")
    references = [each["bom-ref"] for each in made["components"]]
    assert len(set(references)) == len(references) == 3
    (licensed,) = [each for each in made["components"] if "licenses" in each]
    assert licensed["licenses"] == [{"expression": "MIT"}]
    contents.digest = "sha256:2"
    other = make_sbom("mltooling/ml-hub", "3.0.0", "2026-01-01T00:00:00Z", contents)
    assert other["serialNumber"] != made["serialNumber"]


def read_again():
    contents = read(FILES, mtime=7)
    contents.digest = "sha256:1"
    return contents


def test_a_chart_package_is_the_same_whenever_and_by_whomever_it_is_made():
    from tools.release.chart import make_steady

    names = ["mlhub-chart/values.yaml", "mlhub-chart/Chart.yaml"]
    first = make_steady(make_archive(dict.fromkeys(names, "a")), 5)
    assert first == make_steady(make_archive(dict.fromkeys(names[::-1], "a"), mtime=9), 5)
    with tarfile.open(fileobj=io.BytesIO(first)) as archive:
        assert [member.name for member in archive] == names[::-1]


@pytest.mark.parametrize(
    ("python", "semver"),
    [("3.0.0", "3.0.0"), ("3.0.0.dev0", "3.0.0-dev.0"), ("3.1.0rc2", "3.1.0-rc.2")],
)
def test_the_version_of_python_is_that_of_everything_else(python, semver):
    from tools.release.version import to_python, to_semver

    assert (to_semver(python), to_python(semver)) == (semver, python)


@pytest.mark.parametrize("version", ["3", "v3.0.0", "3.0.0.dev0", "3.0.0-dev", "03.0.0-x.1", ""])
def test_what_is_no_version_is_told_with_one_that_is(version):
    from tools.console import ToolError
    from tools.release.version import to_python

    with pytest.raises(ToolError, match=r"Write e\.g\. 3\.1\.0"):
        to_python(version)


def test_every_file_that_names_the_version_is_found():
    from tools.release.version import list_files, to_semver

    files = list_files({__version__: "", to_semver(__version__): ""})
    wanted = {"mlhub/__init__.py", "helmchart/mlhub/Chart.yaml", "docs/howto/kubernetes.md"}
    assert wanted <= set(files)
    assert "CHANGELOG.md" not in files


def test_the_notes_are_the_versions_own_section_or_what_is_not_released():
    from tools.console import ToolError
    from tools.release.version import read_notes

    changelog = "# Log\n\n## Unreleased\n\nnew\n\n## 2.0.0 (2026-01-01)\n\n### Added\n- old\n"
    assert read_notes(changelog, "2.0.0") == "### Added\n- old"
    assert read_notes(changelog, "3.0.0") == "new"
    with pytest.raises(ToolError, match=r"no section '3\.0\.0'"):
        read_notes("# Log\n", "3.0.0")


def make_release(folder: Path, listed: Sequence[str] = ()) -> None:
    from tools.release.sums import MANIFEST, write_sums

    manifest = {"chart": "chart.tgz", "images": [{"archive": "hub.tar.gz", "tags": ["a:1"]}]}
    (folder / MANIFEST).write_text(json.dumps(manifest))
    for name in ("chart.tgz", "hub.tar.gz"):
        (folder / name).write_text(name)
    write_sums(folder)


def test_a_release_that_is_whole_is_taken(tmp_path):
    from tools.release.sums import read_release

    make_release(tmp_path)
    assert read_release(tmp_path)["images"][0]["tags"] == ["a:1"]


def damage(folder: Path) -> str:
    (folder / "hub.tar.gz").write_text("other")
    return "has the checksum"


def lose(folder: Path) -> str:
    (folder / "chart.tgz").unlink()
    return "is missing"


def leave_out(folder: Path) -> str:
    sums = folder / "SHA256SUMS"
    kept = [line for line in sums.read_text().splitlines() if "hub" not in line]
    sums.write_text("\n".join(kept))
    return "does not list hub.tar.gz"


def empty(folder: Path) -> str:
    (folder / "SHA256SUMS").unlink()
    return "is no release"


@pytest.mark.parametrize("change", [damage, lose, leave_out, empty])
def test_a_release_that_is_not_whole_is_refused_with_what_is_wrong(tmp_path, change):
    from tools.console import ToolError
    from tools.release.sums import read_release

    make_release(tmp_path)
    sentence = change(tmp_path)
    with pytest.raises(ToolError, match=sentence):
        read_release(tmp_path)
