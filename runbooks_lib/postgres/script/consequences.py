"""What does a statement set off in this database, beyond its own words? Functions, defaults, triggers, views.

A function's body is read too, and what that calls. What cannot be read is never taken for harmless.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import NamedTuple

from runbooks_lib.names import parts, qualified
from runbooks_lib.postgres.queries import query
from runbooks_lib.postgres.script.calls import NOTHING, Call, Code, Name, in_body, in_expression
from runbooks_lib.postgres.script.script import Body, Fill, Statement
from runbooks_lib.postgres.session.connect import Connection, Row

# VOLATILE, and yet nothing is different afterwards. Any other volatile function that is built in acts on something.
_HARMLESS = frozenset(
    {"random", "random_normal", "gen_random_uuid", "uuidv4", "uuidv7", "clock_timestamp", "timeofday", "currval",
     "lastval", "version", "pg_is_in_recovery", "pg_current_wal_lsn", "pg_relation_size", "pg_table_size",
     "pg_indexes_size", "pg_total_relation_size", "pg_database_size",
     # of extensions
     "uuid_generate_v1", "uuid_generate_v1mc", "uuid_generate_v4", "gen_random_bytes", "gen_salt"}
)  # fmt: skip
_WAITS = frozenset(
    {"pg_sleep", "pg_sleep_for", "pg_sleep_until"}
)  # nothing is different afterwards but the time
_READ = ("sql", "plpgsql")  # the languages whose bodies can be read
_ROW, _BEFORE, _INSERT, _UPDATE, _INSTEAD = 1, 1 << 1, 1 << 2, 1 << 4, 1 << 6  # bits of pg_trigger.tgtype


class Kind(StrEnum):
    """What is set off."""

    SEQUENCE = "takes a value of the sequence"
    OUTSIDE = "acts outside the transaction by"
    NOTIFY = "notifies by"
    WRITES = "changes"
    UNKNOWN = "runs what cannot be read:"
    VOLATILE = "calls the VOLATILE function"
    TRIGGER = "fires"
    AGAIN = "has no unique key among the values that stay the same, and inserts again into"


class When(StrEnum):
    """At whose word: the statement's own, that of a table it fills (each time, or for new rows only), any DDL."""

    OWN = "own"
    TABLE = "table"
    NEW_ROW = "new row"
    DDL = "DDL"


class Act(NamedTuple):
    """Something that a statement sets off: what, of what name, when, and by what part of the database ("": itself)."""

    kind: Kind
    name: str
    when: When
    by: str = ""

    def __str__(self) -> str:
        """Say it for people."""
        return f"{self.by} {self.kind} {self.name}" if self.by else f"{self.kind} {self.name}"


def acts_of(conn: Connection, statements: Sequence[Statement]) -> tuple[tuple[Act, ...], ...]:
    """Return for each statement what it sets off in the session's database; nothing is executed.

    Reads the catalogue for what the statements name, and for what that leads to.
    """
    database = _Database(conn, statements)
    return tuple(tuple(dict.fromkeys(database.acts(statement))) for statement in statements)


class Fate(StrEnum):
    """What an act means for its statement, mildest first."""

    RUNS = "runs"
    NAMED = "named"  # a person should know of it
    COPY = "copy"  # not rehearsed on the target: no rollback would take it back
    REFUSED = "refused"


def fate(act: Act) -> Fate:
    """Return what an act means for the statement that sets it off.

    What acts at each run is refused, except for values of a sequence, of which a run only wastes some. A NOTIFY of
    somebody else's trigger is rolled back with the rehearsal, and what is done for a new row is done once.
    """
    own = act.when is When.OWN
    match act.kind:
        case Kind.TRIGGER:
            return Fate.RUNS
        case Kind.SEQUENCE:
            return Fate.COPY
        case Kind.VOLATILE | Kind.AGAIN:
            return Fate.REFUSED
        case Kind.NOTIFY | Kind.UNKNOWN if act.when is When.DDL:
            return Fate.RUNS
        case Kind.NOTIFY:
            return Fate.REFUSED if own else Fate.NAMED
        case Kind.WRITES:
            return Fate.REFUSED if act.when in (When.OWN, When.TABLE) else Fate.NAMED
        case _:
            return Fate.REFUSED if own else Fate.COPY


class _Database:
    """The code of a database, as far as somebody asked for it, and what the script adds to it."""

    def __init__(self, conn: Connection, statements: Sequence[Statement]) -> None:
        self._conn = conn
        self._functions: dict[str, list[Row]] = {}
        self._tables: dict[Name, list[Row]] = {}
        self._keys: dict[Name, list[list[str] | None]] = {}
        self._implicit: list[Row] | None = None
        self._made: dict[Name, Code] = {}
        self._like: dict[Name, tuple[Name, ...]] = {}
        self._bodies: dict[str, list[Row]] = {}
        self._seen: set[tuple[object, ...]] = set()
        for statement in statements:
            if statement.keeps:
                name = _name(statement)
                self._made[name] = self._made.get(name, NOTHING) | statement.keeps
            if statement.takes_after:
                self._like[_name(statement)] = statement.takes_after
            if statement.body is not None:
                self._bodies.setdefault(_name(statement)[1], []).append(_row_of(statement, statement.body))

    def acts(self, statement: Statement) -> Iterator[Act]:
        """Yield what one statement sets off."""
        self._seen.clear()
        if statement.fills is None:
            for row in self._implicitly("event trigger"):
                yield from self._call(_called(row), When.DDL, f"event trigger {row['part']}")
        yield from self._code(statement.runs, When.OWN, "")
        if statement.fills is not None:
            yield from self._filled(_name(statement), statement.fills)
            if statement.fills.listed and not self._meets_a_key(_name(statement), statement.fills):
                yield Act(Kind.AGAIN, statement.object, When.OWN)
        elif statement.kind == "table" and (
            statement.adds or statement.touched.changes
        ):  # rewritten, and its indexes are made again
            yield from self._stored(_name(statement), ("index", "generated"))
        if statement.runs or statement.fills is not None or statement.adds:
            yield from self._unnamed()

    def _meets_a_key(self, name: Name, fill: Fill) -> bool:
        """Return whether the rows of a second run could meet those of the first: by a key whose values stay the same.

        A table that is not there yet is filled in the rehearsal, twice.
        """
        columns = {row["part"]: row for row in self._hanging_on(name) if row["place"] is not None}
        if not columns:
            return True
        if name not in self._keys:
            asked = {"schema": name[0], "name": name[1]}
            self._keys[name] = [row["columns"] for row in self._conn.execute(query("code_keys"), asked)]
        return any(
            key is None or all(column in columns and _stays(columns[column], fill) for column in key)
            for key in self._keys[name]
        )

    def _code(self, code: Code, when: When, by: str) -> Iterator[Act]:
        """Yield what a piece of code sets off when it runs."""
        if code.dynamic:
            yield Act(Kind.UNKNOWN, "a text as SQL", when, by)
        if code.notifies:
            yield Act(Kind.NOTIFY, "NOTIFY", when, by)
        if code.writes:
            for name in sorted(code.changes) or [("", "objects")]:
                yield Act(Kind.WRITES, qualified(*name) if name[0] else name[1], when, by)
        for call in sorted(code.calls, key=str):
            yield from self._call(call, when, by)
        for row in self._implicitly("operator") if code.operators else ():
            if row["part"] in code.operators:
                yield from self._call(_called(row), when, by or f"operator {row['part']}")
        for name in sorted(code.reads):
            yield from self._read(name, when, by)
        for name in sorted(code.changes):
            yield from self._filled(name, None)

    def _call(self, call: Call, when: When, by: str) -> Iterator[Act]:
        """Yield what a call sets off: whichever function of that name it may be."""
        for row in self._named(call.name):
            if call.schema is None or call.schema == row["called_in"]:
                yield from self._function(row, call, when, by)

    def _function(self, row: Row, call: Call, when: When, by: str) -> Iterator[Act]:
        name = qualified(row["schema"], row["name"])
        acting = row["volatility"] == "v" and row["name"] not in _HARMLESS
        if row["built_in"]:
            if acting:
                yield from self._acting(row["name"], call, when, by)
            return
        if acting and when is When.OWN and not by:
            yield Act(Kind.VOLATILE, name, when)
        code = row["code"] if "code" in row else _code_of(row)
        if self._first("function", name, code, when):
            yield from self._code(code, when, by or f"function {name}")
        if row["language"] not in _READ and (acting or not row["compiled"]):
            yield Act(Kind.UNKNOWN, name, when, by)

    def _acting(self, name: str, call: Call, when: When, by: str) -> Iterator[Act]:
        if name in _WAITS and when is not When.OWN:
            return
        if name != "nextval":
            yield Act(Kind.NOTIFY if name == "pg_notify" else Kind.OUTSIDE, name, when, by)
        elif call.argument is None or self._is_there(call.argument):
            yield Act(Kind.SEQUENCE, call.argument or "named by an expression", when, by)

    def _is_there(self, name: str) -> bool:
        """Return whether a relation is there, as a text names it. If not, the script makes it: a rollback undoes it."""
        asked = "SELECT coalesce(to_regclass(%s), to_regclass('public.' || %s)) IS NOT NULL AS there"
        row = self._conn.execute(asked, (name, name)).fetchone()
        return row is not None and bool(row["there"])

    def _read(self, name: Name, when: When, by: str) -> Iterator[Act]:
        """Yield what reading a relation sets off: a view's query, a policy, a foreign table's server."""
        spelt = qualified(*name)
        if not self._first("read", name, when):
            return
        found = self._hanging_on(name)
        if not found:
            yield from self._code(self._made.get(name, NOTHING), when, by or f"view {spelt}")
        for row in found:
            if _is_foreign(row):
                yield Act(Kind.OUTSIDE, f"the server of foreign table {spelt}", when, by)
            if row["how"] in ("view", "policy") and row["text"]:
                where = by or f"{row['how']} {row['part'] or spelt}"
                yield from self._code(in_expression(row["text"].rstrip(";")), when, where)

    def _filled(self, name: Name, fill: Fill | None) -> Iterator[Act]:
        """Yield what runs when rows come into a table; `fill` says which of its columns need no default."""
        spelt = qualified(*name)
        if not self._first("filled", name):
            return
        found = self._hanging_on(name)
        if not found:
            yield from self._code(self._made.get(name, NOTHING), When.TABLE, f"table {spelt}")
            for like in self._like.get(name, ()):
                yield from self._filled(like, None)
        for row in found:
            by = f"{row['how']} {row['part']} of {spelt}"
            given = fill is not None and row["place"] is not None and fill.gives(row["place"], row["part"])
            if row["how"] == "identity" and not given:
                yield Act(Kind.SEQUENCE, f"of {spelt}.{row['part']}", When.TABLE, by)
            elif row["how"] == "default" and not given:
                yield from self._code(in_expression(row["text"] or "NULL"), When.TABLE, by)
            elif row["how"] == "trigger" and (
                fill is None or row["events"] & (_INSERT if fill.adds else _UPDATE)
            ):
                yield from self._trigger(row, by, updates=fill is not None and not fill.adds)
            elif row["how"] == "view" or _is_foreign(row):
                what = f"what stands behind {spelt}, which is no table of its own"
                yield Act(Kind.OUTSIDE, what, When.OWN)
        yield from self._stored(name, ("generated", "check", "index", "policy"))

    def _stored(self, name: Name, hows: Sequence[str]) -> Iterator[Act]:
        """Yield what a table's own expressions set off, those that are computed for each row that it stores."""
        for row in self._hanging_on(name):
            if row["how"] in hows and row["text"]:
                by = f"{row['how']} {row['part']} of {qualified(*name)}"
                yield from self._code(in_expression(row["text"]), When.TABLE, by)

    def _trigger(self, row: Row, by: str, *, updates: bool) -> Iterator[Act]:
        """Yield a trigger and what its function does. One AFTER each new row doesn't fire on a conflict.

        One of an UPDATE fires for rows that are changed, and so for none on a second run.
        """
        new_row = row["events"] & _ROW and (updates or not row["events"] & (_BEFORE | _INSTEAD))
        when = When.NEW_ROW if new_row else When.TABLE
        yield Act(Kind.TRIGGER, qualified(row["function_schema"], row["function_name"]), when, by)
        yield from self._call(_called(row), when, by)

    def _unnamed(self) -> Iterator[Act]:
        """Yield what users' casts, and the checks and defaults of their domains, set off wherever a value comes by."""
        for row in self._implicitly("cast"):
            yield from self._call(_called(row), When.TABLE, f"cast {row['part']}")
        for row in self._implicitly("domain"):
            yield from self._code(in_expression(row["text"]), When.TABLE, f"domain {row['part']}")

    def _first(self, *key: object) -> bool:
        """Return whether a statement comes by here for the first time: code may call itself."""
        if key in self._seen:
            return False
        self._seen.add(key)
        return True

    def _named(self, name: str) -> list[Row]:
        if name not in self._functions:
            found = self._conn.execute(query("code_functions"), {"names": [name]}).fetchall()
            self._functions[name] = found + self._bodies.get(name, [])
        return self._functions[name]

    def _hanging_on(self, name: Name) -> list[Row]:
        if name not in self._tables:
            asked = {"schema": name[0], "name": name[1]}
            self._tables[name] = self._conn.execute(query("code_tables"), asked).fetchall()
        return self._tables[name]

    def _implicitly(self, how: str) -> Iterator[Row]:
        if self._implicit is None:
            self._implicit = self._conn.execute(query("code_implicit")).fetchall()
        return (row for row in self._implicit if row["how"] == how)


def _name(statement: Statement) -> Name:
    schema, name = parts(statement.object)[-2:]
    return schema, name


def _row_of(statement: Statement, body: Body) -> Row:
    """Return a function that the script makes as one of the database's would be read."""
    schema, name = _name(statement)
    known = {"called_in": schema, "schema": schema, "name": name, "built_in": False, "compiled": False}
    return {**known, "language": body.language, "volatility": body.volatility, "code": body.code}


def _stays(column: Row, fill: Fill) -> bool:
    """Return whether a column has the same values in another run: those that are given, or a default's."""
    if fill.gives(column["place"], column["part"]):
        return fill.repeats(column["place"], column["part"])
    default = in_expression(column["text"]) if column["text"] and column["how"] == "default" else None
    return default is not None and not default.calls and not default.changes_with_time


def _code_of(row: Row) -> Code:
    """Return what a function's body and the defaults of its arguments call; a compiled one has no body to read."""
    return in_body(row["body"] or "") | in_body(row["defaults"] or "")


def _called(row: Row) -> Call:
    return Call(row["function_schema"], row["function_name"])


def _is_foreign(row: Row) -> bool:
    return bool(row["how"] == "kind" and row["part"] == "f")
