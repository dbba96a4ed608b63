"""The larger workspaces: what each adds works, without a network."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.support.hub_container import ROOT

pytestmark = [pytest.mark.full, pytest.mark.timeout(1800)]
SCIENCE = """
import matplotlib, nbgitpuller, ipywidgets, jupyter_resource_usage
matplotlib.use("agg")
import matplotlib.pyplot as pyplot, numpy, pandas, scipy.linalg, sklearn.linear_model
frame = pandas.DataFrame({"x": range(5)})
frame["y"] = 3 * frame["x"] + scipy.linalg.det(numpy.eye(2))
model = sklearn.linear_model.LinearRegression().fit(frame[["x"]].to_numpy(), frame["y"])
frame.plot().figure.savefig("/tmp/plot.png")
print(round(float(model.coef_[0])))
"""
R = """
suppressPackageStartupMessages(library(dplyr))
cat(nrow(filter(data.frame(x = 1:9), x > 6)), "\\n")
"""
# `jupyter run` waits ten seconds for a cell.
RUN = """
import sys
from jupyter_client.manager import start_new_kernel
manager, client = start_new_kernel(startup_timeout=120, kernel_name=sys.argv[1])
client.execute_interactive(sys.stdin.read(), timeout=240)
client.stop_channels()
manager.shutdown_kernel(now=True)
"""


@pytest.fixture(scope="module", autouse=True)
def images() -> Iterator[dict[str, str]]:
    """Return the images by what they are for; they are built where they are missing."""
    sys.path.insert(0, str(ROOT / "scripts"))
    from tools.images import VARIANTS, WORKSPACE, ensure_image

    for image in (WORKSPACE, *VARIANTS):
        ensure_image(image)
    yield {image.tag.partition(":")[0].rpartition("-")[2]: image.tag for image in VARIANTS}
    sys.path.remove(str(ROOT / "scripts"))


def run_cell(image: str, kernel: str, code: str) -> str:
    """Run code in a kernel of an image; return what it printed."""
    command = ["docker", "run", "--rm", "--interactive", "--network", "none", image]
    result = subprocess.run(
        [*command, "python", "-c", RUN, kernel],
        input=code,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout.strip()


@pytest.mark.parametrize(
    ("variant", "kernel", "code"), [("science", "python3", SCIENCE), ("r", "ir", R)]
)
def test_a_cell_uses_what_the_image_is_for(images, variant, kernel, code):
    assert run_cell(images[variant], kernel, code) == "3"


@pytest.mark.parametrize("variant", ["science", "r"])
def test_it_runs_as_the_default_workspace_does(images, variant):
    told = "{{.Config.User}} {{json .Config.Cmd}} {{json .Config.ExposedPorts}}"
    looked = [
        subprocess.run(
            ["docker", "image", "inspect", "--format", told, image],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for image in (images[variant], "mltooling/mlhub-workspace:latest")
    ]
    assert looked[0] == looked[1]


@pytest.mark.parametrize("variant", ["science", "r"])
def test_nothing_of_root_is_in_the_place_of_peoples_files(images, variant):
    command = ["docker", "run", "--rm", "--network", "none", "--entrypoint", "find"]
    found = subprocess.run(
        [*command, images[variant], "/workspace", "-not", "-user", "1000"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout == ""
