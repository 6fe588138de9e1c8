"""Archives in object stores (s3, gs, abfs, …), through fsspec: a run is made here, and copied there once sealed.

The manifest is written last and, when a run is replaced, removed first: what has one there is whole. The copy here
stays: a stopped run is taken up from it, and the next seal follows it whatever became of the archive.
Source: https://filesystem-spec.readthedocs.io/
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from runbooks_lib.archive import reader
from runbooks_lib.archive.manifest import ATTESTATION, MANIFEST, Sealed, canonical
from runbooks_lib.archive.manifest import read as read_manifest
from runbooks_lib.archive.masking.mask import redact
from runbooks_lib.archive.run import Run, is_url, runs_folder
from runbooks_lib.archive.sealed_files import as_sealed
from runbooks_lib.archive.store.listing import Listed
from runbooks_lib.cache import cache_directory
from runbooks_lib.errors import EvidenceError, PreconditionFailed, RunbookError
from runbooks_lib.evidence import HEADER, header_of
from runbooks_lib.package import how_to_add
from runbooks_lib.temporary import temporary_folder

EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs", "abfs": "abfs", "abfss": "abfs", "az": "abfs"}
WITHOUT_FOLDERS = frozenset({*EXTRAS, "memory"})  # making a folder there would make a bucket
LISTS_NOTHING = frozenset({"http", "https"})  # a web server tells neither what it has nor that it has nothing
_NAMED = "Name a folder, or a URL such as s3://bucket/runs, gs://bucket/runs or abfs://container/runs."
_CHAIN = re.compile(r"[^/]+/[^/]+/(run\.json|manifest\.json|attestation\.dsse\.json|plan/plan_\w+\.json)")


def archive_url(named: str | Path | None = None) -> str | None:
    """Return the URL of the archive that --runs, else RUNBOOKS_RUNS names; None when that is a folder."""
    url = str(named) if named else os.environ.get("RUNBOOKS_RUNS")
    return url if is_url(url) else None


def place(named: str | None, phase: str) -> Path:
    """Return the folder to make a run in: the archive's own, or for one at a URL what `prepare` returns."""
    url = archive_url(named)
    return prepare(url, phase) if url else runs_folder(named)


def shown(url: str) -> str:
    """Return a URL without the user and password that it may hold."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))


def local_folder(url: str) -> Path:
    """Return the folder in the cache, made when missing, in which the runs of an archive at a URL are made."""
    name = hashlib.sha256(url.rstrip("/").encode()).hexdigest()[:16]
    folder = cache_directory() / "archives" / name
    folder.mkdir(parents=True, mode=0o700, exist_ok=True)
    return folder


def prepare(url: str, phase: str) -> Path:
    """Return `local_folder(url)` with the chain of the phase's runs in it, so that the next run's seal follows it.

    Reads run.json, seal and plans of each run that is there and not here: a plan may have been made elsewhere.
    Raises PreconditionFailed when the driver is missing, EvidenceError when the archive cannot be read: before a
    run begins, not at its end.
    """
    folder = local_folder(url)
    with _telling(f"The archive {shown(url)} cannot be read"):
        fs, root = _open(url)
        _fetch_chain(fs, root, phase, folder, whole=False)
    return folder


def upload(run: Run, url: str) -> str:
    """Copy a sealed run to the archive at a URL; return the run's own URL there. Twice is once.

    What its manifest lists is copied, and nothing else. A run that is there already is replaced only when it was not
    complete: a stopped run that was continued.
    Raises EvidenceError when the run is not sealed or cannot be trusted, when another complete run is there, or when
    something could not be written; the folder here stays as it is, and is named.
    """
    if not run.sealed:
        raise EvidenceError(
            f"The run {run.path} is not sealed, so it was not uploaded.", "Let the run end, then upload it."
        )
    sealed = _trusted(run)
    where = f"{url.rstrip('/')}/{run.path.parent.name}/{run.id}"
    again = f"The run is whole in {run.path}; mend this, then: runbooks runs upload {run.path} --runs {shown(url)}"
    with _telling(f"The run could not be uploaded to {shown(where)}", again):
        fs, root = _open(where)
        with temporary_folder("upload") as staged:
            _copy(sealed, fs, root, where, staged)
    return where


def _trusted(run: Run) -> Sealed:
    """Return the seal of a run that `runbooks verify` trusts. Raises EvidenceError, naming what speaks against it."""
    from runbooks_lib.archive.seal.verify import verify

    found = verify(run.path)
    if not found.trusted:
        first = found.problems[0]
        raise EvidenceError(
            f"The run {run.path} cannot be trusted, so it was not uploaded: {first.where}: {first.what}.",
            f"runbooks verify {run.path} says what else.",
        )
    return read_manifest(run.path)


def _copy(sealed: Sealed, fs: Any, root: str, where: str, staged: Path) -> None:
    files = sealed.content.files
    manifest = canonical(sealed.content)
    sizes = {name: file.size_bytes for name, file in files.items()} | {MANIFEST: len(manifest)}
    if os.path.lexists(sealed.path / ATTESTATION):
        attestation = reader.read(sealed.path, ATTESTATION)
        sizes[ATTESTATION] = len(attestation)
        (staged / ATTESTATION).write_bytes(attestation)
    there = _sizes(fs, root)
    if MANIFEST in there:
        before = fs.cat_file(f"{root}/{MANIFEST}")
        if before == manifest and there == sizes:
            return
        _require_replaceable(before, sealed.path, where)
        fs.rm_file(f"{root}/{MANIFEST}")
    for stale in there.keys() - sizes.keys():
        fs.rm_file(f"{root}/{stale}")
    if not WITHOUT_FOLDERS & set(_protocols(fs)):
        for folder in {str(PurePosixPath(f"{root}/{name}").parent) for name in sizes}:
            fs.makedirs(folder, exist_ok=True)
    believed = as_sealed(sealed)
    for number, name in enumerate(files):  # a copy of what was verified: a store's driver would follow links
        believed.copy(sealed.path, name, staged / str(number))
    local = {name: str(staged / str(number)) for number, name in enumerate(files)}
    if ATTESTATION in sizes:
        local[ATTESTATION] = str(staged / ATTESTATION)
    (staged / MANIFEST).write_bytes(manifest)
    fs.put(list(local.values()), [f"{root}/{name}" for name in local])
    fs.put([str(staged / MANIFEST)], [f"{root}/{MANIFEST}"])
    if (written := _sizes(fs, root)) != sizes:
        differing = sorted(n for n in sizes.keys() | written.keys() if sizes.get(n) != written.get(n))
        raise OSError(f"not there as they are here: {', '.join(differing[:5])}")


def _require_replaceable(manifest: bytes, here: Path, where: str) -> None:
    try:
        complete = reader.parsed(manifest).get("complete", True)
    except (ValueError, AttributeError, RecursionError):
        complete = True
    if complete:
        raise EvidenceError(
            f"{shown(where)} already holds a complete run that differs from {here}; nothing was overwritten.",
            "Verify both (`runbooks verify`): one of them was changed after it was sealed.",
        )


@contextmanager
def downloaded(url: str, *, chain: bool = False) -> Iterator[Path]:
    """Give the block a folder with a copy of the run at a URL (ARCHIVE/PHASE/RUN), and remove it afterwards.

    With `chain` also the phase's other sealed runs, whole, beside it.
    Raises EvidenceError when no run is there or it cannot be read.
    """
    with temporary_folder("run") as temporary:
        with _telling(f"The run {shown(url)} could not be read"):
            fs, root = _open(url)
            phase, name = PurePosixPath(root).parts[-2:] if len(PurePosixPath(root).parts) > 2 else ("", "")
            sizes = _sizes(fs, root)
            if HEADER not in sizes or not phase:
                raise EvidenceError(
                    f"There is no run at {shown(url)}.",
                    "Name a run as ARCHIVE/PHASE/RUN; `runbooks runs list --runs ARCHIVE` lists them.",
                )
            folder = temporary / phase / name
            _get(fs, root, sizes, folder)
            if chain:
                _fetch_chain(fs, str(PurePosixPath(root).parent.parent), phase, temporary, whole=True)
        yield folder


@contextmanager
def located(reference: str, *, chain: bool = False) -> Iterator[Path]:
    """Give the block the folder of a run that a folder or a URL names; what is at a URL is copied for the block."""
    if is_url(reference):
        with downloaded(reference, chain=chain) as folder:
            yield folder
    else:
        yield Path(reference).expanduser().absolute()


def listed_at(url: str) -> list[Listed]:
    """Return every run of the archive at a URL, oldest first, as `listing.listed` does for a folder.

    Reads the names in the archive and each run.json. Raises PreconditionFailed or EvidenceError.
    """
    with _telling(f"The archive {shown(url)} cannot be read"):
        fs, root = _open(url)
        names = set(_sizes(fs, root))
        folders = sorted(
            (PurePosixPath(n).parent for n in names if n.count("/") == 2 and n.endswith(f"/{HEADER}")),
            key=lambda folder: folder.name,
        )
        contents = fs.cat([f"{root}/{f}/{HEADER}" for f in folders], on_error="return") if folders else {}
    base = url.rstrip("/")
    return [
        _listed(f, f"{base}/{f}", contents[f"{root}/{f}/{HEADER}"], f"{f}/{MANIFEST}" in names)
        for f in folders
    ]


@contextmanager
def fetched(
    url: str, choose: Callable[[frozenset[str]], Iterable[str]]
) -> Iterator[tuple[Path, frozenset[str]]]:
    """Give the block a temporary folder with files of the archive at a URL, and the names of all that are there.

    `choose` returns, of the names, those to copy. Raises PreconditionFailed or EvidenceError.
    """
    with temporary_folder("archive") as temporary:
        with _telling(f"The archive {shown(url)} cannot be read"):
            fs, root = _open(url)
            sizes = _sizes(fs, root)
            names = frozenset(sizes)
            _get(fs, root, {name: sizes[name] for name in choose(names)}, temporary)
        yield temporary, names


def put(path: Path, url: str) -> str:
    """Copy a file to a URL, over what is there; return the URL. Raises PreconditionFailed or EvidenceError."""
    with _telling(f"{shown(url)} could not be written"):
        fs, root = _open(url)
        fs.put_file(str(path), root)
    return url


def _listed(folder: PurePosixPath, where: str, content: Any, sealed: bool) -> Listed:
    told: dict[str, Any] = {}
    try:
        parsed = reader.parsed_object(content, Path(where, HEADER))
        told = {"content": parsed, "header": header_of(parsed, Path(where, HEADER))}
    except (EvidenceError, AttributeError):
        told = {"problem": f"{shown(where)}/{HEADER} cannot be read."}
    return Listed(id=folder.name, phase=folder.parent.name, where=where, sealed=sealed, **told)


def _fetch_chain(fs: Any, root: str, phase: str, into: Path, *, whole: bool) -> None:
    """Copy the sealed runs of a phase that are not here yet: whole, or only what the next seal must follow."""
    names = {f"{phase}/{name}": size for name, size in _sizes(fs, f"{root}/{phase}").items()}
    wanted = {
        name: size
        for name, size in names.items()
        if (whole or _CHAIN.fullmatch(name))
        and not (into / name).exists()
        and "/".join((*PurePosixPath(name).parts[:2], MANIFEST)) in names
    }
    _get(fs, root, wanted, into)


def _get(fs: Any, root: str, sizes: dict[str, int], folder: Path) -> None:
    for name in sizes:
        if not (folder / name).resolve().is_relative_to(folder.resolve()):
            raise OSError(f"{name} would be written outside the run's folder")
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
    names = list(sizes)
    if names:
        fs.get([f"{root}/{name}" for name in names], [str(folder / name) for name in names])
    short = [name for name in names if (folder / name).stat().st_size != sizes[name]]
    if short:
        raise OSError(f"cut short: {', '.join(short[:5])}")


def _sizes(fs: Any, root: str) -> dict[str, int]:
    """Return the files below a folder with their sizes in bytes; none when there is no such folder.

    What is no file is left out: a `file://` folder may hold links and pipes.
    """
    fs.invalidate_cache()
    flat = WITHOUT_FOLDERS & set(_protocols(fs))
    found = fs.find(root, detail=True) if flat else dict(_walk(fs, root))
    return {
        name.removeprefix(root).lstrip("/"): int(info["size"])
        for name, info in found.items()
        if name != root and info.get("type", "file") == "file" and not info.get("islink")
    }


def _walk(fs: Any, folder: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield what is below a folder, by its path.

    fsspec's own walk takes a folder that can't be read, or a server that is away, for an empty one.
    """
    try:
        entries = fs.ls(folder, detail=True)
    except FileNotFoundError:
        return
    for info in entries:
        name = info["name"].rstrip("/")
        if info["type"] == "directory" and name != folder:
            yield from _walk(fs, name)
        else:
            yield name, info


def _protocols(fs: Any) -> tuple[str, ...]:
    return (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)


def _open(url: str) -> tuple[Any, str]:
    """Return the file system of a URL and the path in it. Raises PreconditionFailed: no driver, or no archive."""
    protocol = urlsplit(url).scheme
    if protocol in LISTS_NOTHING:
        raise PreconditionFailed(
            f"{shown(url)} is a web address, and no archive of runs can be there.", _NAMED
        )
    extra = EXTRAS.get(protocol)
    hint = how_to_add(extra) if extra else "Install the package of its driver."
    try:
        import fsspec
    except ImportError as error:
        raise PreconditionFailed(
            f"The archive {shown(url)} needs the Python package fsspec.", hint
        ) from error
    try:
        fs, root = fsspec.url_to_fs(url)
    except ImportError as error:
        raise PreconditionFailed(
            f"The archive {shown(url)} needs a driver that is not installed: {error}.",
            hint,
        ) from error
    except ValueError as error:
        raise PreconditionFailed(
            f"The archive {shown(url)} cannot be opened: {redact(str(error))}.",
            _NAMED,
        ) from error
    return fs, str(root).rstrip("/")


@contextmanager
def _telling(what_happened: str, what_to_do: str = "") -> Iterator[None]:
    """Turn whatever a driver raises into an EvidenceError with its words, secrets masked."""
    try:
        yield
    except RunbookError:
        raise
    except Exception as error:
        words = redact(" ".join(str(error).split())) or type(error).__name__
        raise EvidenceError(
            f"{what_happened}: {words}.",
            what_to_do or "Check the URL, the network, and the credentials that its driver finds.",
        ) from error
