"""Defaults of the workspace's server; a file of the same name in ~/.jupyter has the last word."""

from jupyter_client.kernelspec import KernelSpecManager
from jupyter_core.paths import jupyter_path
from traitlets import default

c = get_config()  # noqa: F821 (Jupyter puts it there)

# Nothing in a workspace calls home, and JupyterLab's own extensions belong to the image.
c.LabApp.news_url = None
c.LabApp.check_for_updates_class = "jupyterlab.NeverCheckForUpdate"
c.LabApp.extension_manager = "readonly"

# Upstream's list of kernel folders imports all of IPython to learn one more of them, ~/.ipython/kernels.
class WorkspaceKernelSpecManager(KernelSpecManager):
    """Look for kernels where Jupyter documents them."""

    @default("kernel_dirs")
    def _list_kernel_dirs(self):
        return jupyter_path("kernels")


c.ServerApp.kernel_spec_manager_class = WorkspaceKernelSpecManager
