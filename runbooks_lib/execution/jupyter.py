"""JupyterLab for a walk-through: fresh copies of the notebooks, with the archive beside them."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from runbooks_lib.archive.notebooks import blank, notebooks_folder
from runbooks_lib.errors import PreconditionFailed
from runbooks_lib.owned import hold, is_held, is_ours_alone
from runbooks_lib.package import own_ipython, own_python
from runbooks_lib.temporary import is_gone

PREFIX = ".jupyter-"
CONFIG = ".config"
START = "notebooks/00_start.ipynb"
# The machine may be on a closed network, and an operator on call is not to be asked about news.
SETTINGS = {
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
}


def lay_out(runs: Path) -> Path:
    """Make the folder that JupyterLab serves, below the archive: notebooks without outputs, and a link to the runs.

    Copies, so that the shipped ones stay as they are, and nothing is seen that this walk-through did not do. Those of
    servers that have ended are deleted: what was run there is archived in its run.
    Raises PreconditionFailed when the folder cannot be made.
    """
    folder = runs / f"{PREFIX}{os.getpid()}"
    try:
        runs.mkdir(parents=True, exist_ok=True)
        for old in runs.glob(f"{PREFIX}*"):
            pid = old.name.removeprefix(PREFIX)
            if is_gone(old, pid) or (old == folder and is_ours_alone(old) and not is_held(old)):
                shutil.rmtree(old)
        folder.mkdir(mode=0o700)
        os.set_inheritable(hold(folder), True)  # by JupyterLab, which this process becomes
        (folder / "notebooks").mkdir(mode=0o700)
        for notebook in sorted(notebooks_folder().glob("*.ipynb")):
            (folder / "notebooks" / notebook.name).write_text(json.dumps(blank(notebook)), encoding="utf-8")
        (folder / "runs").symlink_to(runs, target_is_directory=True)
        (folder / CONFIG / "labconfig").mkdir(parents=True)
        settings = folder / CONFIG / "labconfig" / "default_setting_overrides.json"
        settings.write_text(json.dumps(SETTINGS), encoding="utf-8")
    except OSError as error:
        raise PreconditionFailed(
            f"The notebooks cannot be copied to {folder}: {error.strerror or error}.",
            "Let --runs or RUNBOOKS_RUNS name a folder of yours, with room.",
        ) from error
    return folder


def command(folder: Path) -> list[str]:
    """Return the command line of a JupyterLab that serves `folder` to this machine only, with its token on."""
    return [
        sys.executable, "-m", "jupyterlab", "--ip=127.0.0.1",
        f"--ServerApp.root_dir={folder}", f"--LabApp.default_url=/lab/tree/{START}",
        "--ContentsManager.allow_hidden=False",
        "--LabApp.news_url=None", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        *(["--allow-root"] if os.geteuid() == 0 else []),
    ]  # fmt: skip


def environment(folder: Path, variables: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of JupyterLab and its kernels: ours, `variables`, the archive, and our settings."""
    paths = os.pathsep.join(filter(None, (str(folder / CONFIG), os.environ.get("JUPYTER_CONFIG_PATH"))))
    return {
        **own_python(os.environ),
        **variables,
        "IPYTHONDIR": own_ipython(folder / CONFIG / "ipython"),
        "JUPYTER_PREFER_ENV_PATH": "1",  # the kernel of this very Python
        "RUNBOOKS_RUNS": str(folder.parent),
        "JUPYTER_CONFIG_PATH": paths,
    }


def become_jupyterlab(runs: Path, variables: Mapping[str, str]) -> None:
    """Replace this process by JupyterLab on fresh copies of the notebooks; it ends with Ctrl-C.

    `variables` are added to its environment. Raises PreconditionFailed as `lay_out` does.
    """
    folder = lay_out(runs)
    words = command(folder)
    os.execve(words[0], words, environment(folder, variables))  # noqa: S606 - JupyterLab takes our place, no shell
