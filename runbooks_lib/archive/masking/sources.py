"""Which secrets can be known here, and where each comes from: so that one that is found can be named by its source."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from runbooks_lib.ordinary import is_ordinary

LONGEST_BYTES = 16 << 20  # of a file with secrets
SECRET_OPTIONS = frozenset({"password", "sslpassword", "oauth_client_secret"})
# libpq ends a field at the first colon that no backslash escapes, the password too.
_PASS_LINE = re.compile(":".join([r"((?:\\.|[^\\:]|\\$)*)"] * 5))
_SECRET_NAME = re.compile(
    r"PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN|CREDENTIAL|(?:API|ACCESS|PRIVATE|ACCOUNT|ENCRYPTION)_?KEY"
    r"|(?:^|_)(?:PASS|PWD|AUTH)$",
    re.IGNORECASE,
)
_NO_SECRET_NAME = re.compile(r"(?:_FILE|_PATH|_DIR|_URL|_ID|_TTL|_SOCK|^PWD|^OLDPWD)$", re.IGNORECASE)
_NO_SECRET = re.compile(r"true|false|yes|no|on|off|none|null|[\d.]{1,5}", re.IGNORECASE)
_URL_PASSWORD = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://[^\s/@:]*:(\S*)@[^\s@]*")
_URL_OPTION = re.compile(r"[?&](?:password|sslpassword|token)=([^&#\s]+)", re.IGNORECASE)
_HEADER = re.compile(
    r"^[\w-]*(?:auth|cookie|token|key|secret)[\w-]*:[ \t]*(\S[^\r\n]*?)\s*$", re.IGNORECASE | re.MULTILINE
)
_ENV_LINE = re.compile(r"""^\s*(?:export\s+)?(\w+)\s*=\s*(?:"(.*)"|'(.*)'|(.*?))\s*$""")
_KUBECONFIG_LINE = re.compile(
    r"""^\s*-?\s*(token|password|client-key-data):\s*["']?([^\s"']+)""", re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class Known:
    """The secrets that can be known here, each with the name of the first source that has it.

    `weak` ones are ordinary words, short, or the names of somebody or something that a service names.
    """

    strong: Mapping[str, str]
    weak: Mapping[str, str]


def known_secrets() -> Known:
    """Return every secret that can be known here.

    Reads the service files, the pass files, PGPASSWORD, URLs and secret-looking names in the environment and in the
    Prisma project's .env, the kubeconfig, and the signing key. Files that cannot be read hold nothing that we know.
    """
    found: dict[str, str] = {}
    names: set[str] = {
        os.environ.get(name, "").casefold() for name in ("PGUSER", "PGDATABASE", "PGHOST", "USER")
    }
    for secret, source in _all(names):
        if secret:
            found.setdefault(secret, source)
    weak = {secret for secret in found if secret.casefold() in names or is_ordinary(secret)}
    return Known(
        {secret: source for secret, source in found.items() if secret not in weak},
        {secret: source for secret, source in found.items() if secret in weak},
    )


def weak_secrets() -> list[str]:
    """Return where secrets stand that are masked only in the places of secrets: never what they are."""
    return sorted(set(known_secrets().weak.values()))


def _all(names: set[str]) -> Iterator[tuple[str, str]]:
    """Yield each secret and its source; add what is named beside them, in small letters, to `names`."""
    yield os.environ.get("PGPASSWORD", ""), "environment variable PGPASSWORD"
    yield from _of_libpq(names)
    yield from _of_variables(os.environ, "environment variable")
    project = os.environ.get("RUNBOOKS_PRISMA_PROJECT")
    for path in _env_files(Path(project).expanduser().absolute()) if project else ():
        lines = (_ENV_LINE.match(line) for line in _lines(path))
        variables = {m[1]: next((v for v in m.groups()[1:] if v is not None), "") for m in lines if m}
        yield from _of_variables(variables, f"{path}, variable")
    kubeconfig = Path(os.environ.get("KUBECONFIG") or Path.home() / ".kube" / "config")
    for found in _KUBECONFIG_LINE.finditer("\n".join(_lines(kubeconfig))):
        yield found[2], f"{kubeconfig}, {found[1]}"
    key = os.environ.get("RUNBOOKS_SIGNING_KEY")
    if key:
        yield from (
            (line.strip(), f"the signing key {key}") for line in _lines(Path(key)) if "-----" not in line
        )


def _env_files(named: Path) -> Iterator[Path]:
    """Yield where an .env file of a Prisma project may be: beside its schema, and from there up to its package.json."""
    folder = named if named.is_dir() else named.parent
    yield folder / "prisma" / ".env"
    for each in (folder, *folder.parents):
        yield each / ".env"
        if (each / "package.json").is_file():
            return


def _of_libpq(names: set[str]) -> Iterator[tuple[str, str]]:
    from runbooks_lib.postgres.session.service_file import service_files

    pass_files = {Path(os.environ.get("PGPASSFILE") or Path.home() / ".pgpass"): None}
    for path in service_files():
        for number, line in enumerate(_lines(path), start=1):
            option, _, value = (part.strip() for part in line.partition("="))
            if option in SECRET_OPTIONS:
                yield value, f"service file {path}, line {number}"
            elif option == "passfile":
                pass_files[Path(value)] = None
            else:
                names.add((value or option.strip("[]")).casefold())
    for path in pass_files:
        for number, line in enumerate(_lines(path), start=1):
            fields = None if line.startswith("#") else _PASS_LINE.match(line)
            if fields:
                names.update(field.casefold() for field in fields.groups()[:4])
                yield re.sub(r"\\(.)", r"\1", fields[5]), f"pass file {path}, line {number}"


def _of_variables(variables: Mapping[str, str], kind: str) -> Iterator[tuple[str, str]]:
    for name, value in variables.items():
        source = f"{kind} {name}"
        for pattern in (_URL_PASSWORD, _URL_OPTION):
            for found in pattern.findall(value):
                yield found, source
                yield unquote(found), source
        for header in _HEADER.findall(value):  # what a service is to be asked with
            yield from ((secret, source) for secret in {header, header.split()[-1]})
        if _SECRET_NAME.search(name) and not _NO_SECRET_NAME.search(name) and not _is_plain(value):
            yield value, source


def _is_plain(value: str) -> bool:
    """Tell whether a value is a switch, a small number or the path of something: no secret, whatever its name."""
    if _NO_SECRET.fullmatch(value):
        return True
    try:
        return os.path.exists(value)
    except ValueError:
        return False


def _lines(path: Path) -> list[str]:
    """Return the lines of an ordinary file; none of what is none: reading a pipe would take it from its reader."""
    try:
        if not path.is_file() or path.stat().st_size > LONGEST_BYTES:
            return []
        return path.read_text(encoding="utf-8", errors="replace").split("\n")
    except (OSError, ValueError):
        return []
