"""A server that speaks TLS, and clients that trust another authority, want another name, or none at all."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from runbooks_lib.lab.lab import Lab, running
from runbooks_lib.postgres import binaries
from runbooks_lib.postgres.scratch.programs import find_servers

from .campaign import fault
from .proof import dumps, passwords, require_told, require_unchanged
from .test_servers import PHASE, closing, look, told, with_settings


@dataclass(frozen=True, kw_only=True)
class Authority:
    """A certificate authority, which signs a server's certificate."""

    name: str
    folder: Path

    @property
    def root(self) -> Path:
        return self.folder / f"{self.name}.pem"

    def sign(self, host: str) -> tuple[Path, Path]:
        """Write the authority's own certificate, and one for a host; return that one and its key."""
        ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)])
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        root = _certificate(issuer, issuer, ca_key.public_key()).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        self.root.write_bytes(root.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        own = _certificate(issuer, subject, key.public_key()).add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))]), critical=False
        )
        made = self.folder / f"{self.name}.{host}.pem", self.folder / f"{self.name}.{host}.key"
        made[0].write_bytes(own.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        made[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return made


def _certificate(
    issuer: x509.Name, subject: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .issuer_name(issuer).subject_name(subject).public_key(key).serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(hours=1))
    )  # fmt: skip


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(name="ours", folder=tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def encrypted(ours: Authority) -> Iterator[Lab]:
    """A lab of a build with TLS, which speaks it; the service file is changed by the tests."""
    builds = [
        each for each in find_servers([]) if (each.bindir / "pg_ctl").exists() and speaks_tls(each.bindir)
    ]
    if not builds:
        pytest.skip("no PostgreSQL server with TLS is installed (Debian: apt-get install postgresql)")
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        patch.setenv(binaries.ENV_BINDIR, str(builds[0].bindir))
        lab = stack.enter_context(running())
        for name, value in lab.env().items():
            patch.setenv(name, value)
        certificate, key = ours.sign("127.0.0.1")
        for server in (lab.leader, lab.replica):
            for source in (certificate, key):
                path = server.data / source.name
                path.write_bytes(source.read_bytes())
                path.chmod(0o600)
                server.programs.account.own(path)
            stack.enter_context(
                with_settings(
                    server,
                    lab,
                    "ssl = on",
                    f"ssl_cert_file = '{certificate.name}'",
                    f"ssl_key_file = '{key.name}'",
                )
            )
        yield lab


def speaks_tls(bindir: Path) -> bool:
    return (
        b"ssl_cert_file" in (bindir / "postgres").read_bytes()
        and b"SSL_CTX_new" in (bindir / "postgres").read_bytes()
    )


def through(lab: Lab, folder: Path, monkeypatch: pytest.MonkeyPatch, **parameters: object) -> None:
    """Let every service have these parameters of libpq."""
    lines = "".join(f"{name}={value}\n" for name, value in parameters.items())
    services = (
        Path(lab.env()["PGSERVICEFILE"])
        .read_text("utf-8")
        .replace("host=127.0.0.1\n", f"host=127.0.0.1\n{lines}")
    )
    (folder / "services").write_text(services, "utf-8")
    monkeypatch.setenv("PGSERVICEFILE", str(folder / "services"))


@fault(
    kind="database",
    fault="TLS is required: {what}",
    injected="sslmode={mode}, sslrootcert={root}; the server's certificate is signed by an authority of our own",
    seen="libpq verifies the certificate before a password is sent",
    told="ERROR: certificate verify failed, or the name that it is for; sslrootcert has to be the server's authority",
    goes_on="mend sslrootcert or host in the service file, then the same command",
)
@pytest.mark.parametrize(
    ("what", "mode", "root", "cause"),
    [
        ("another authority is trusted", "verify-ca", "theirs", "certificate verify failed"),
        ("another authority is trusted, and the name counts", "verify-full", "theirs", "certificate verify failed"),
        ("the file of the authority is not there", "verify-full", "missing", "root certificate file.*does not exist"),
    ],
)  # fmt: skip
def test_a_certificate_of_another_authority_is_refused(
    encrypted: Lab,
    ours: Authority,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    what: str,
    mode: str,
    root: str,
    cause: str,
) -> None:
    before = dumps(encrypted)
    theirs = Authority(name="theirs", folder=tmp_path)
    theirs.sign("127.0.0.1")
    with monkeypatch.context() as patch:
        through(encrypted, tmp_path, patch, sslmode=mode, sslrootcert=tmp_path / f"{root}.pem")
        found = closing(look())
    assert {each.target for each in found} >= set(PHASE.targets)
    require_told(
        told(found),
        cause=cause,
        next_step="sslrootcert has to hold the authority",
        secrets=passwords(encrypted),
    )
    require_unchanged(before, dumps(encrypted))
    with monkeypatch.context() as patch:
        through(encrypted, tmp_path, patch, sslmode=mode, sslrootcert=ours.root)
        assert closing(look()) == [], "with the right authority all is well"
