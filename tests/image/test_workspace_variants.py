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
# A host without a GPU computes on the CPU, also what torch.compile has a compiler make.
GPU = """
import importlib.metadata, torch
assert torch.version.cuda and importlib.metadata.version("nvidia-cublas")
assert not torch.cuda.is_available()
weight = torch.ones(3, requires_grad=True)
torch.compile(lambda x: (weight * x).sum())(torch.ones(3)).backward()
from torch.utils.tensorboard import SummaryWriter
print(round(float(weight.grad.numpy().sum())))
"""
# A terminal on a screen of its own runs a command, as the person and without a network.
DESKTOP = """
import os, pathlib, subprocess, time
server = "Xtigervnc :9 -rfbport -1 -rfbunixpath /tmp/vnc -SecurityTypes None"
subprocess.Popen(server.split(), stderr=subprocess.DEVNULL)
deadline = time.monotonic() + 120
while not pathlib.Path("/tmp/.X11-unix/X9").exists() and time.monotonic() < deadline:
    time.sleep(0.1)
terminal = "dbus-launch xfce4-terminal --disable-server -e".split()
screen = {**os.environ, "DISPLAY": ":9"}
subprocess.run([*terminal, "sh -c 'echo 3 > /tmp/seen'"], env=screen, timeout=120)
print(pathlib.Path("/tmp/seen").read_text().strip())
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


@pytest.fixture(scope="module", params=["science", "r", "gpu", "desktop"])
def variant(request: pytest.FixtureRequest) -> Iterator[str]:
    """Return what an image is for, after it was built where it is missing."""
    sys.path.insert(0, str(ROOT / "scripts"))
    from tools.images import VARIANTS, WORKSPACE, ensure_image

    ensure_image(WORKSPACE)
    ensure_image(VARIANTS[request.param])
    yield request.param
    sys.path.remove(str(ROOT / "scripts"))


@pytest.fixture
def image(variant: str) -> str:
    """Return the image's reference."""
    return f"mltooling/mlhub-workspace-{variant}:latest"


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


def test_a_cell_uses_what_the_image_is_for(variant, image):
    kernel = "ir" if variant == "r" else "python3"
    code = {"science": SCIENCE, "r": R, "gpu": GPU, "desktop": DESKTOP}[variant]
    assert run_cell(image, kernel, code) == "3"


def test_it_runs_as_the_default_workspace_does(image):
    told = "{{.Config.User}} {{json .Config.Cmd}} {{json .Config.ExposedPorts}}"
    looked = [
        subprocess.run(
            ["docker", "image", "inspect", "--format", told, each],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for each in (image, "mltooling/mlhub-workspace:latest")
    ]
    assert looked[0] == looked[1]


def test_nothing_of_root_is_in_the_place_of_peoples_files(image):
    command = ["docker", "run", "--rm", "--network", "none", "--entrypoint", "find"]
    found = subprocess.run(
        [*command, image, "/workspace", "-not", "-user", "1000"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout == ""
