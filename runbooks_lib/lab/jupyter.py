"""JupyterLab on a lab: the notebooks to walk through, and the archive beside them."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

from runbooks_lib.archive.code import notebooks_folder
from runbooks_lib.errors import LabError, PreconditionFailed
from runbooks_lib.lab.lab import WALKTHROUGH, Lab

CONFIG = ".config"
# The machine may be on a closed network, and an operator on call is not to be asked about news.
SETTINGS = {
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
}
START = "notebooks/00_start.ipynb"


def lay_out(lab: Lab, runs: Path) -> Path:
    """Make the folder that JupyterLab serves: fresh copies of the notebooks, and a link to the archive.

    Copies, so that the shipped ones stay as they are: what was run is archived in the run, not here.
    Raises LabError when it cannot be made, PreconditionFailed when the archive is no folder.
    """
    folder = lab.directory / WALKTHROUGH
    try:
        runs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PreconditionFailed(
            f"The archive {runs} cannot be made: {error.strerror}.",
            "Let RUNBOOKS_RUNS name a folder of yours.",
        ) from error
    try:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(
            notebooks_folder(), folder / "notebooks", ignore=shutil.ignore_patterns(".*", "__pycache__")
        )
        (folder / "runs").symlink_to(runs, target_is_directory=True)
        settings = folder / CONFIG / "labconfig"
        settings.mkdir(parents=True)
        (settings / "default_setting_overrides.json").write_text(json.dumps(SETTINGS), encoding="utf-8")
    except OSError as error:
        raise LabError(
            f"{folder} could not be made: {error}.", "Free space, or name another folder: --dir."
        ) from error
    return folder


def command(folder: Path) -> list[str]:
    """Return the command line of a JupyterLab that serves `folder` on this machine only, with its token on."""
    return [
        sys.executable, "-m", "jupyterlab", "--ip=127.0.0.1",
        f"--ServerApp.root_dir={folder}", f"--LabApp.default_url=/lab/tree/{START}",
        "--LabApp.news_url=None", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        *(["--allow-root"] if os.geteuid() == 0 else []),
    ]  # fmt: skip


def environment(lab: Lab, folder: Path, runs: Path) -> dict[str, str]:
    """Return the environment of JupyterLab and of its kernels: the lab's services, our settings, and the archive."""
    paths = os.pathsep.join(filter(None, (str(folder / CONFIG), os.environ.get("JUPYTER_CONFIG_PATH"))))
    return {**os.environ, **lab.env(), "RUNBOOKS_RUNS": str(runs), "JUPYTER_CONFIG_PATH": paths}
