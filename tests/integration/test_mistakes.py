"""Some sixty mistakes that people make at the command line: refused or explained at once, with the next action.

Where nothing has to be asked of a server, an answer takes less than a second, the start of Python included: by the
clock, less the time in which the machine had no processor free.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from runbooks_lib.archive.plans import keep_plan
from runbooks_lib.archive.run import Run
from runbooks_lib.facts.writing import Plan
from runbooks_lib.lab.lab import Lab
from runbooks_lib.phase import load_phase

PHASE = "PH15-AMAZON-DB-FOUNDATION-01"
RUNBOOKS = Path(sys.executable).with_name("runbooks")
QUICK_S = 1.0
TRIES = 3  # the machine may be busy with something else: the quickest of them counts
Env = dict[str, str]


def a_file(folder: Path, env: Env) -> None:
    (folder / "file").write_text("x")


def no_services(folder: Path, env: Env) -> None:
    env["PGSERVICEFILE"] = str(folder / "nowhere.conf")


def a_folder_of_services(folder: Path, env: Env) -> None:
    env["PGSERVICEFILE"] = str(folder)


def other_services(folder: Path, env: Env) -> None:
    (folder / "services.conf").write_text("[shop]\nhost=127.0.0.1\n")
    env["PGSERVICEFILE"] = str(folder / "services.conf")


def no_address(folder: Path, env: Env) -> None:
    del env["KEYBUZZ_API_URL"]


def no_project(folder: Path, env: Env) -> None:
    env["RUNBOOKS_PRISMA_PROJECT"] = str(folder / "nowhere")


def one_run(folder: Path, env: Env) -> None:
    Run.create(folder / "runs", load_phase(PHASE))


def two_runs(folder: Path, env: Env) -> None:
    for _ in range(2):
        Run.create(folder / "runs", load_phase(PHASE))


def a_plan_of_another_phase(folder: Path, env: Env) -> None:
    run = Run.create(folder / "runs", load_phase(PHASE))
    run.note(keep_plan(run, Plan(hash="1234abcd" * 8, confirmation="keybuzz:1234abcd")))
    (folder / "runs" / PHASE).rename(folder / "runs" / "PH16-NEXT")


def a_plan_at_other_services(folder: Path, env: Env) -> None:
    run = Run.create(folder / "runs", load_phase(PHASE))
    parts = {"services": {"leader": "staging_leader"}}
    run.note(keep_plan(run, Plan(hash="1234abcd" * 8, confirmation="keybuzz:1234abcd", parts=parts)))


def a_wrong_type(folder: Path, env: Env) -> None:
    (folder / "ORDERS").mkdir()
    (folder / "ORDERS" / "phase.toml").write_text('spec_version = 3\nid = "ORDERS"\ntitle = 7\n')


def services_with_a_mark(folder: Path, env: Env) -> None:
    text = Path(env["PGSERVICEFILE"]).read_text()
    (folder / "services.conf").write_text(text, encoding="utf-8-sig")
    env["PGSERVICEFILE"] = str(folder / "services.conf")


def a_section_that_does_not_end(folder: Path, env: Env) -> None:
    text = Path(env["PGSERVICEFILE"]).read_text().replace("[keybuzz_replica]", "[keybuzz_replica")
    (folder / "services.conf").write_text(text)
    env["PGSERVICEFILE"] = str(folder / "services.conf")


def an_empty_variable(folder: Path, env: Env) -> None:
    env["PGSERVICEFILE"] = ""


def an_address_without_its_scheme(folder: Path, env: Env) -> None:
    env["KEYBUZZ_API_URL"] = "operator:s3cretpw@localhost:8080"


def a_run_called_here(folder: Path, env: Env) -> None:
    Run.create(folder / "runs", load_phase(PHASE)).path.rename(folder / "here")


def a_notebook(folder: Path, env: Env) -> None:
    (folder / "01_preflight.ipynb").write_text("{}")


def a_phase_with_a_mark(folder: Path, env: Env) -> None:
    (folder / "ORDERS").mkdir()
    (folder / "ORDERS" / "phase.toml").write_text('spec_version = 3\r\ntitle = "x"\r\n', encoding="utf-8-sig")


def a_narrow_terminal(folder: Path, env: Env) -> None:
    env.update(NO_COLOR="1", TERM="dumb", COLUMNS="40", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")


DSN = "postgresql://operator:s3cretpw@10.0.0.1/shop"
APPLY = ("run", PHASE, "--runs", "runs", "--apply", "--confirm")
# what somebody types, what stands around it, the exit code, what is said, and the next action that is named
MISTAKES: dict[str, tuple[tuple[str, ...], Callable[[Path, Env], None] | None, int, str, str]] = {
    "a command misspelled": (("rum", PHASE), None, 2, "No such command 'rum'", "Did you mean"),
    "a phase misspelled": (("run", "PH15-AMAZON-DB-FUNDATION-01"), None, 3, "FUNDATION", PHASE),
    "a step misspelled": (("run", PHASE, "--only", "prefligth"), None, 2, "no step", "Did you mean preflight?"),
    "a step that there is not": (("run", PHASE, "--from", "9"), None, 2, "no step '9'", "07_report"),
    "apply without a confirmation": (("run", PHASE, "--apply"), None, 2, "--confirm", "Run without --apply"),
    "a confirmation without apply": (("run", PHASE, "--confirm", "keybuzz:1234abcd"), None, 2, "--apply", "give both"),
    "half a confirmation": ((*APPLY, "1234abcd"), None, 2, "DATABASE:HASH8", "Run without --apply"),
    "the confirmation of another database": ((*APPLY, "shop:1234abcd"), None, 3, "writes to keybuzz", "Run without"),
    "that of another phase": ((*APPLY, "keybuzz:1234abcd"), a_plan_of_another_phase, 3, "PH16-NEXT", "Run without"),
    "that of other services": ((*APPLY, "keybuzz:1234abcd"), a_plan_at_other_services, 3, "services", "Run without"),
    "--from and --only": (("run", PHASE, "--from", "3", "--only", "4"), None, 2, "exclude each other", "--help"),
    "no service file": (("run", PHASE), no_services, 3, "does not exist", "PGSERVICEFILE"),
    "a service file that cannot be read": (
        ("run", PHASE), a_folder_of_services, 3, "cannot be read: Is a directory", "PGSERVICEFILE"
    ),
    "a service file without the services": (("run", PHASE), other_services, 3, "keybuzz_leader", "Add a [service]"),
    "JupyterLab without a service file": (("jupyter",), no_services, 3, "does not exist", "runbooks lab up"),
    "an address that is not set": (("run", PHASE), no_address, 3, "KEYBUZZ_API_URL", "Export it"),
    "a Prisma project that is not there": (("run", PHASE), no_project, 3, "nowhere", "Name the folder"),
    "a file for the runs": (("run", PHASE, "--runs", "file"), a_file, 4, "file", "--runs DIR"),
    "a key that is none": (("run", PHASE, "--key", "file"), a_file, 4, "no ed25519", "runbooks keygen"),
    "a run misspelled": (("runs", "show", "latset", "--runs", "runs"), one_run, 3, "latset", "Did you mean latest?"),
    "a run to resume that is not there": (
        ("run", PHASE, "--resume", "2019", "--runs", "runs"), one_run, 3, "2019", "runs list"),
    "a run to verify that is not there": (("verify", "runs/PH15/2019"), None, 3, "no folder", "runs list"),
    "a file to verify": (("verify", "file"), a_file, 3, "is a file", "README.txt says"),
    "a check misspelled": (("explain", "has_indx"), None, 2, "has_indx", "Did you mean has_index"),
    "a report in Klingon": (("report", "latest", "--runs", "runs", "--lang", "tlh"), one_run, 3, "'tlh'", "en, fr"),
    "an option misspelled": (("run", PHASE, "--aply"), None, 2, "No such option '--aply'", "--apply"),
    "a confirmation that was cut off": ((*APPLY, "keybuzz:1234"), None, 2, "DATABASE:HASH8", "Run without --apply"),
    "a phase in lower case": (("run", PHASE.lower()), None, 3, PHASE.lower(), f"Did you mean {PHASE}?"),
    "a folder without a phase": (("run", "."), None, 3, "no phase", "phase.toml"),
    "a phase file with a wrong type": (("phase", "check", "ORDERS"), a_wrong_type, 3, "title", "Correct the file"),
    "an archive without a run": (("runs", "show", "latest", "--runs", "runs"), None, 3, "none at all", "--runs DIR"),
    "a service without its target": (("run", PHASE, "--service", "shop"), None, 2, "TARGET=NAME", "leader="),
    "a target misspelled": (("run", PHASE, "--service", "leder=x"), None, 3, "leder", "Did you mean leader?"),
    "a fleet file that is not there": (("fleet", "run", PHASE, "--targets", "f"), None, 3, "fleet file f", "--targets"),
    "no number of runs to keep": (("runs", "prune", "--keep", "0"), None, 2, "--keep", "x>=1"),
    "a report to send that cannot be written": (
        ("export", "latest", "--runs", "runs", "--out", "no/where.zip"), one_run, 4, "no folder", "--out FILE"),
    "a state to practise on without a project": (("lab", "up", "--break", "x"), None, 2, "--break", "needs --project"),
    "an address for a service": (("diagnose", "--service", DSN), None, 2, "address of a database", "pg_service.conf"),
    "an address for a phase": (("run", DSN), None, 2, "address of a database", "pg_service.conf"),
    "an address for a run": (("run", PHASE, "--resume", DSN), None, 2, "address of a database", "pg_service.conf"),
    "an address for a database": (
        ("run", PHASE, "--database", f"leader={DSN}"), None, 2, "address of a database", "pg_service.conf"),
    "an address for a folder": (("keygen", "--out", DSN), None, 2, "address of a database", "pg_service.conf"),
    "an address behind all": (("run", PHASE, DSN), None, 2, "address of a database", "pg_service.conf"),
    "an address in words": (
        ("adopt", "--service", "host=h password=s3cretpw"), None, 2, "address of a database", "pg_service.conf"),
    "a step out of a variable that is not set": (
        ("run", PHASE, "--only", ""), None, 2, "the word after --only", "is a variable unset"),
    "a run out of such a variable": (("run", PHASE, "--resume="), None, 2, "--resume", "is a variable unset"),
    "an option before its command": (("--apply", "run", PHASE), None, 2, "--apply", "runbooks run"),
    "a phase without run": ((PHASE,), None, 2, "no command", f"runbooks run {PHASE}"),
    "a run for a phase": (("run", "here"), a_run_called_here, 3, "folder of a run", "--resume"),
    "a notebook for a phase": (("run", "01_preflight.ipynb"), a_notebook, 3, "is a notebook", "--only STEP"),
    "a phase file with a byte order mark": (("phase", "check", "ORDERS"), a_phase_with_a_mark, 3, "1. id", "Correct"),
    "services with a byte order mark": (
        ("run", PHASE), services_with_a_mark, 3, "byte order mark", "save it as UTF-8 without"),
    "a section that does not end": (("run", PHASE), a_section_that_does_not_end, 3, "Line ", "has no ]"),
    "PGSERVICEFILE that is empty": (("run", PHASE), an_empty_variable, 3, "PGSERVICEFILE is set, and empty", "point"),
    "an address without http": (
        ("run", PHASE), an_address_without_its_scheme, 3, "KEYBUZZ_API_URL is no address", "export KEYBUZZ_API_URL"),
    "a phase's folder to verify": (("verify", f"runs/{PHASE}"), one_run, 3, "no run's folder", "runs list"),
    "the archive to resume": (("run", PHASE, "--resume", "runs"), one_run, 3, "no run's folder", "--runs DIR"),
    "a run for the archive": (("run", PHASE, "--runs", "here"), a_run_called_here, 3, "is a run", "--runs /"),
    "a phase's folder for the archive": (
        ("runs", "list", "--runs", f"runs/{PHASE}"), one_run, 3, "no archive", "--runs /"),
    "a file for the Prisma project": (
        ("run", PHASE, "--prisma-project", "file"), a_file, 3, "Not a directory", "Name the folder"),
    "a digest that is none": (("verify", "here", "--head", "zz"), a_run_called_here, 2, "--head", "64 digits"),
    "a narrow terminal without colours and UTF-8": (
        ("run", PHASE, "--only", "prefligth"), a_narrow_terminal, 2, "no step", "Did you mean preflight?"),
    "nobody to ask before runs are deleted": (
        ("runs", "prune", "--keep", "1", "--runs", "runs"), two_runs, 2, "Nobody can be asked", "add --yes"),
    "an upload to a folder": (("runs", "upload", "latest", "--runs", "bucket"), None, 2, "no URL", "s3://"),
}  # fmt: skip


def used_s() -> float:
    """The processor time of this process's children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def waited_s() -> float:
    """How long something on this machine has waited for a processor; 0 where the kernel does not count it."""
    pressure = Path("/proc/pressure/cpu")
    return int(pressure.read_text().split("total=")[1].split()[0]) / 1e6 if pressure.exists() else 0.0


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_at_once_with_the_next_action(name: str, lab: Lab, tmp_path: Path) -> None:
    words, around, exit_code, said, action = MISTAKES[name]
    env = {**os.environ, **lab.env()}
    if around:
        around(tmp_path, env)
    took: list[float] = []
    for _ in range(TRIES):
        began, used, waited = time.monotonic(), used_s(), waited_s()
        done = subprocess.run(
            [str(RUNBOOKS), *words],
            env=env,
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        by_clock, by_processor = time.monotonic() - began, used_s() - used
        took.append(max(by_processor, by_clock - (waited_s() - waited)))
        if took[-1] < QUICK_S:
            break
    told = f"{done.stdout}{done.stderr}"
    assert done.returncode == exit_code, told
    assert said in told
    assert action in told
    assert "Traceback" not in told
    assert "s3cretpw" not in told
    assert min(took) < QUICK_S


@pytest.mark.parametrize(
    ("line", "exit_code"),
    {
        "nobody reads stdout": ("runbooks runs list --runs runs | true", 0),
        "one line is read": ("runbooks runs list --runs runs | head -1", 0),
        "nobody reads that a run cannot be trusted": ("runbooks verify latest --runs runs | true", 1),
        "nobody reads a mistake": ("runbooks runs show 2019 --runs runs 2>&1 | true", 3),
        "stdin is closed": ("runbooks explain - <&-", 0),
        "stdout is closed": ("runbooks verify latest --runs runs >&-", 1),
        "all are closed": ("runbooks runs show 2019 --runs runs <&- >&- 2>&-", 3),
        "stdout's disk is full": ("runbooks runs list --runs runs > /dev/full", 4),
        "stderr's disk is full": ("runbooks runs show 2019 --runs runs 2> /dev/full", 3),
        "the folder is gone": ("mkdir gone && cd gone && rmdir ../gone && runbooks runs list", 4),
    }.values(),
)
def test_streams_change_nothing_of_what_a_command_says_by_its_exit_code(
    line: str, exit_code: int, tmp_path: Path
) -> None:
    one_run(tmp_path, {})
    env = {**os.environ, "PATH": f"{RUNBOOKS.parent}:{os.environ['PATH']}"}
    words = ["bash", "-o", "pipefail", "-c", line]
    done = subprocess.run(
        words, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == exit_code, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    if "gone" in line:
        assert "Go to one that is there" in done.stderr


def test_a_run_whose_reader_goes_away_comes_to_its_end(lab: Lab, tmp_path: Path) -> None:
    env = {**os.environ, **lab.env(), "PATH": f"{RUNBOOKS.parent}:{os.environ['PATH']}"}
    line = f"runbooks run {PHASE} --only preflight --runs runs 2>&1 | head -1"
    words = ["bash", "-o", "pipefail", "-c", line]
    done = subprocess.run(
        words, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout
    (run,) = (tmp_path / "runs" / PHASE).iterdir()
    assert Run.open(run).sealed
