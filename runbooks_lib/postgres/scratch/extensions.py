"""Extensions in a scratch database: which are here, which a superuser of ours makes, and where the others come from."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

import psycopg
from psycopg import sql

from runbooks_lib.postgres.session.connect import Connection

MadeBefore = frozenset[tuple[str, str]]  # the tag of a statement and the name of what it would make
_HERE = """
SELECT e.name, v.trusted
FROM pg_available_extensions e
JOIN pg_available_extension_versions v ON (v.name, v.version) = (e.name, e.default_version)
WHERE e.name = ANY(%s)
"""
_CONTRIB = "PostgreSQL's contrib modules (Debian: postgresql-{major}, RPM: postgresql{major}-contrib)"
# fmt: off
CONTRIB = frozenset({
    "autoinc", "bloom", "btree_gin", "btree_gist", "citext", "cube", "dblink", "dict_int", "earthdistance",
    "fuzzystrmatch", "hstore", "intarray", "isn", "lo", "ltree", "pg_buffercache", "pg_stat_statements", "pg_trgm",
    "pgcrypto", "postgres_fdw", "seg", "sslinfo", "tablefunc", "unaccent", "uuid-ossp", "xml2",
})
# fmt: on
_PROVIDERS = {
    **dict.fromkeys(CONTRIB, _CONTRIB),
    "vector": "pgvector (Debian: postgresql-{major}-pgvector)",
    "postgis": "PostGIS (Debian: postgresql-{major}-postgis-3)",
    "postgis_raster": "PostGIS (Debian: postgresql-{major}-postgis-3)",
    "postgis_topology": "PostGIS (Debian: postgresql-{major}-postgis-3)",
    "pg_cron": "pg_cron (Debian: postgresql-{major}-cron)",
    "pg_partman": "pg_partman (Debian: postgresql-{major}-partman)",
    "pgaudit": "pgAudit (Debian: postgresql-{major}-pgaudit)",
    "timescaledb": "TimescaleDB (its own packages, docs.timescale.com)",
}
_WORDS = {  # types, functions and operator classes by which an extension is known
    "citext": "citext",
    "hstore": "hstore",
    "ltree": "ltree",
    "cube": "cube",
    "unaccent": "unaccent",
    "pg_trgm": "gin_trgm_ops gist_trgm_ops similarity word_similarity",
    "pgcrypto": "crypt gen_salt digest hmac gen_random_bytes pgp_sym_encrypt pgp_sym_decrypt",
    "postgis": "geometry geography box2d box3d st_point st_makepoint st_setsrid st_geomfromtext",
    "timescaledb": "create_hypertable time_bucket",
    "uuid-ossp": "uuid_generate_v1 uuid_generate_v1mc uuid_generate_v3 uuid_generate_v4 uuid_generate_v5",
    "vector": "vector halfvec sparsevec vector_cosine_ops vector_l2_ops vector_ip_ops",
}
_KNOWN_BY = {word: extension for extension, words in _WORDS.items() for word in words.split()}
_NO_SUCH = {"42704", "42883"}  # a type or an operator class, a function


def extension_with(error: BaseException | None) -> str | None:
    """Return the extension that has the type, function or operator class which PostgreSQL did not find."""
    if not isinstance(error, psycopg.Error) or error.sqlstate not in _NO_SUCH:
        return None
    words = re.findall(r"\w+", (error.diag.message_primary or "").lower())
    return next((_KNOWN_BY[word] for word in words if word in _KNOWN_BY), None)


def provider(extension: str, major: int) -> str:
    """Return what provides an extension, such as `pgvector (Debian: postgresql-18-pgvector)`."""
    known = _PROVIDERS.get(extension, f"the extension's own packages (often postgresql-{major}-{extension})")
    return known.format(major=major)


def how_to_have(extensions: Collection[str], major: int) -> str:
    """Say how a scratch server comes to have extensions."""
    come_from = "; ".join(f"{name}: {provider(name, major)}" for name in sorted(extensions))
    return (
        f"Install it ({come_from}) and let RUNBOOKS_PG_BIN name the programs of the server that has it, or let "
        "RUNBOOKS_SCRATCH_SERVICE name a service of a server that has it, where databases may be made and dropped."
    )


def available(conn: Connection, names: Collection[str]) -> dict[str, bool]:
    """Return which extensions can be made on a server: name -> whether the owner of a database may make it."""
    if not names:
        return {}
    return {row["name"]: row["trusted"] for row in conn.execute(_HERE, (list(names),)).fetchall()}


def make_extensions(conn: Connection, wanted: Mapping[str, str], *, owner: str) -> MadeBefore:
    """Make extensions (name -> schema) as the superuser of a database that nobody has used yet; return those made.

    A schema that they need and that is not there becomes `owner`'s.

    Before any script ran there is nothing in its schemas that an extension's own script could mistake for its own.
    One that does not let itself be made is left out: what needs it says so.
    """
    made: set[tuple[str, str]] = set()
    for name, schema in wanted.items():
        names = {
            "schema": sql.Identifier(schema),
            "name": sql.Identifier(name),
            "owner": sql.Identifier(owner),
        }
        try:
            if not conn.execute("SELECT FROM pg_namespace WHERE nspname = %s", (schema,)).fetchall():
                conn.execute(sql.SQL("CREATE SCHEMA {schema} AUTHORIZATION {owner}").format(**names))
                made.add(("CreateSchemaStmt", schema))
            create = "CREATE EXTENSION IF NOT EXISTS {name} SCHEMA {schema} CASCADE"
            conn.execute(sql.SQL(create).format(**names))
            made.add(("CreateExtensionStmt", name))
        except psycopg.Error:
            continue
    return frozenset(made)
