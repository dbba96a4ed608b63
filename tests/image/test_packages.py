"""A site adds packages to the image as the how-to says, and cannot break the hub by that."""

from __future__ import annotations

import subprocess
import zipfile

import pytest

from tests.support.hub_container import IMAGE, RUN, docker, list_source_mounts

TAG = f"mlhub-test-packages:{RUN}"


def make_wheel(folder, name, *needs):
    about = f"{name}-1.0.dist-info"
    files = {
        f"{name}.py": "WORD = 'here'\n",
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
        + "".join(f"Requires-Dist: {need}\n" for need in needs),
        f"{about}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{about}/RECORD"] = "".join(f"{file},,\n" for file in (*files, f"{about}/RECORD"))
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as archive:
        for file, text in files.items():
            archive.writestr(file, text)


@pytest.fixture(scope="module")
def own_image(tmp_path_factory):
    """An image made from the hub's, with a package beside it, and two more to try."""
    folder = tmp_path_factory.mktemp("own-image")
    make_wheel(folder, "site_signin", "jupyterhub>=5", "site_helper")
    make_wheel(folder, "site_helper")
    make_wheel(folder, "site_old", "jupyterhub<5")
    install = "mlhub-pip install --no-index --find-links /wheels"
    (folder / "Dockerfile").write_text(
        f"FROM {IMAGE}\nCOPY *.whl /wheels/\nRUN {install} site_signin\n"
    )
    docker("build", "--quiet", "--tag", TAG, str(folder))
    yield TAG
    docker("image", "rm", "--force", TAG, check=False)


def run(image, command):
    words = ["docker", "run", "--rm", *list_source_mounts(), "--entrypoint", "sh", image]
    result = subprocess.run([*words, "-c", command], capture_output=True, text=True)
    return result.returncode, result.stdout + result.stderr


def test_a_package_and_what_it_needs_are_there_for_the_hub(own_image):
    code, text = run(
        own_image,
        "python -Ic 'import site_signin, site_helper; print(site_signin.WORD, site_helper.WORD)'",
    )
    assert (code, text) == (0, "here here\n")


def test_what_the_image_does_without_is_not_brought_in_and_nothing_is_missing(own_image):
    assert run(own_image, "mlhub-pip check")[0] == 0
    assert run(own_image, "python -Ic 'import lark'")[0] == 1


def test_what_the_original_s_image_had_is_there_and_stays():
    names = "ldapauthenticator, jupyterhub_idle_culler, nativeauthenticator, oauthenticator"
    assert run(IMAGE, f"python -Ic 'import {names}'")[0] == 0
    assert "ldap3==" in run(IMAGE, "cat /opt/mlhub/share/mlhub/hub.lock")[1]


def test_a_package_that_wants_another_hub_is_refused_and_nothing_changes(own_image):
    _, text = run(
        own_image,
        "mlhub-pip list --format=freeze | sort > /tmp/before;"
        " mlhub-pip install --no-index --find-links /wheels site_old; echo code $?;"
        " mlhub-pip list --format=freeze | sort | cmp - /tmp/before && echo the same",
    )
    assert "code 1" in text, text
    assert "mlhub-pip: nothing was installed" in text
    assert "jupyterhub" in text
    assert "the same" in text


def test_the_hubs_own_packages_stay_and_a_sites_go(own_image):
    _, text = run(own_image, "mlhub-pip uninstall JupyterHub; echo code $?")
    assert "mlhub-pip: JupyterHub is what the hub itself runs on, so it stays." in text
    assert "code 1" in text
    code, _ = run(
        own_image, "mlhub-pip uninstall --quiet site-signin; python -Ic 'import site_signin'"
    )
    assert code == 1
