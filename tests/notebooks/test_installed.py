"""The built wheel in a fresh environment, outside the checkout: `demo`, and `lab up --jupyter`."""

from __future__ import annotations

import configparser
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
import urllib.request
from pathlib import Path

import pytest

from runbooks_lib.lab.lab import Lab

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 120


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command `runbooks` of an environment that has our wheel.

    Other packages, with their programs and data, are this environment's: their path brings no editable checkout.
    """
    place = tmp_path_factory.mktemp("installed")
    python = place / "venv" / "bin" / "python"
    run = [sys.executable, "-m"]
    subprocess.run([*run, "hatchling", "build", "-t", "wheel", "-d", str(place)], cwd=ROOT, check=True)
    subprocess.run([*run, "venv", "--without-pip", str(place / "venv")], check=True)
    (wheel,) = place.glob("*.whl")
    pip = [*run, "pip", "--python", str(python), "install", "--quiet", "--no-index", "--no-deps", str(wheel)]
    subprocess.run(pip, cwd=place, check=True, env=os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"})
    (packages,) = (place / "venv" / "lib").glob("python*/site-packages")
    (packages / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    python.with_name("squawk").symlink_to(Path(sysconfig.get_path("scripts"), "squawk"))
    (place / "venv" / "share").symlink_to(Path(sys.prefix, "share"))
    where = [str(python), "-c", "import runbooks_lib; print(runbooks_lib.__file__)"]
    found = subprocess.run(where, cwd=place, check=True, capture_output=True, text=True).stdout
    assert Path(found.strip()).is_relative_to(place)
    return python.with_name("runbooks")


def test_demo_carries_the_phase_out(installed: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [installed, "demo", "--json"], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout)
    assert {step["verdict"] for step in content["steps"]} == {"PASS", "OPEN"}
    assert Path(content["folder"]).is_relative_to(tmp_path / "runs")
    assert (Path(content["folder"]) / "report.html").exists()


def test_a_newcomer_gets_to_a_plan_by_five_commands_each_printed_by_the_one_before(
    installed: Path, lab: Lab, tmp_path: Path
) -> None:
    """All that they have is a service file, and somebody's project."""
    services = configparser.ConfigParser(interpolation=None)
    services.read(lab.env()["PGSERVICEFILE"])
    with (tmp_path / "services").open("w") as file:
        file.write("[shop]\n" + "".join(f"{k}={v}\n" for k, v in services["keybuzz_leader"].items()))
    env = {name: value for name, value in os.environ.items() if name not in lab.env()}
    env |= {"PGSERVICEFILE": str(tmp_path / "services"), "PGPASSFILE": lab.env()["PGPASSFILE"]}
    project = tmp_path / "project"
    shutil.copytree(lab.env()["RUNBOOKS_PRISMA_PROJECT"], project, symlinks=True)
    given = ["doctor", "--prisma-project", str(project)]
    words: list[str] = []
    for _ in range(5):
        words.append(" ".join(given[:2]) if given[0] == "phase" else given[0])
        done = subprocess.run(
            [installed, *given], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=PATIENCE_S
        )
        assert done.returncode == (1 if given[0] == "diagnose" else 0), (given, done.stdout, done.stderr)
        (command,) = re.findall(r"next: runbooks (.*)", done.stdout)
        given = shlex.split(command)
    assert words == ["doctor", "diagnose", "phase draft", "phase check", "run"]
    assert given[-3:-1] == ["--apply", "--confirm"]


def test_lab_up_opens_jupyterlab_on_the_wheels_notebooks(installed: Path, lab: Lab, tmp_path: Path) -> None:
    own = {
        name: str(tmp_path / name)
        for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")
    }
    env = (
        os.environ | own | {"JUPYTER_TOKEN": "t", "BROWSER": "true", "RUNBOOKS_RUNS": str(tmp_path / "runs")}
    )
    command = [installed, "lab", "up", "--jupyter", "--dir", str(lab.directory)]
    with subprocess.Popen(command, cwd=tmp_path, env=env, stderr=subprocess.DEVNULL) as process:
        try:
            info = tmp_path / "JUPYTER_RUNTIME_DIR" / f"jpserver-{process.pid}.json"
            names = served(info, process)
        finally:
            process.send_signal(signal.SIGTERM)
    assert {"00_start.ipynb", "07_report.ipynb"} <= names


def served(info: Path, process: subprocess.Popen[bytes]) -> set[str]:
    """The notebooks that a JupyterLab serves, once it does."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        assert process.poll() is None
        assert time.monotonic() < deadline
        try:
            url = json.loads(info.read_text("utf-8"))["url"]
            request = urllib.request.Request(
                f"{url}api/contents/notebooks", headers={"Authorization": "token t"}
            )
            with urllib.request.urlopen(request, timeout=10) as answer:
                return {entry["name"] for entry in json.load(answer)["content"]}
        except (OSError, ValueError):
            time.sleep(0.1)
