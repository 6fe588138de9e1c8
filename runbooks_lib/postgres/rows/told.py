"""What can be told of a statement that changes rows: whether its effect stands, and what came after it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

from runbooks_lib.postgres.rows.asked import Table
from runbooks_lib.postgres.script.calls import Name
from runbooks_lib.postgres.script.data_statements import DataStatement, How, Touch, touches
from runbooks_lib.postgres.script.literal_rows import may_be_equal
from runbooks_lib.postgres.script.set_sequences import SetSequence, set_sequences

Script = tuple[str, str]  # its name and its text
ALL_COLUMNS = frozenset({"*"})


class Done(StrEnum):
    """How much of a statement's effect stands.

    NOTHING: there is no row that it could or would change. That fits a database in which it ran and one in which it
    did not, so it speaks for neither.
    """

    ALL = "all"
    NONE = "none"
    PART = "part"
    NOTHING = "nothing to do"
    NOT_JUDGED = "not judged"


class Told(NamedTuple):
    """What is told, why (for a person), and how many rows are missing or would still be changed."""

    done: Done
    why: str
    rows: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class After:
    """What ran, or may have run, after a statement: the rest of its own script, and later ones.

    `before` are the scripts before it, by name and text; of those it matters what they add, and which sequences they
    set. `sets` are the statements that set one, by the scripts' names: those before it, and those after it.
    """

    statement: DataStatement
    schema: str
    before: Sequence[Script]
    own: tuple[Touch, ...]
    later: tuple[tuple[str, Touch], ...]
    sets: tuple[tuple[tuple[str, SetSequence], ...], tuple[tuple[str, SetSequence], ...]] = ((), ())

    def moved(self, table: Name, column: str | None = None) -> str:
        """Say what drops or renames a table, or a column of it, or its whole schema; "" when nothing does."""
        columns = frozenset({column}) if column else frozenset[str]()
        return next(
            (
                where
                for where, touch in self._all()
                if touch.how is How.MOVES
                and touch.table in (table, ("", table[0]))
                and (touch.columns is None or touch.meets(columns))
            ),
            "",
        )

    def replaced(self, table: Name) -> str:
        """Say what of a later script drops or renames a table: one of its name is another one."""
        return replace(self, own=()).moved(table)

    def added(self, table: Table) -> str:
        """Say which other statement, whenever it runs, may add rows to a table that equal this one's; "" when none."""
        spelled = {name: each.spelled for name, each in table.columns.items() if each.spelled is not None}
        own = touches(self.statement.script, self.schema)
        ours = next((touch.rows for touch in own if touch.at == self.statement.at), None)
        others = [("", touch) for touch in own if touch.at != self.statement.at]
        others += [(name, touch) for name, text in self.before for touch in touches(text, self.schema)]
        return next(
            (
                _place(name, touch)
                for name, touch in (*others, *self.later)
                if touch.how is How.ADDS
                and touch.table == table.name
                and may_be_equal(ours, touch.rows, spelled)
            ),
            "",
        )

    def written(
        self,
        tables: Collection[Name],
        columns: frozenset[str] = ALL_COLUMNS,
        hows: Sequence[How] = (How.WRITES,),
    ) -> str:
        """Say what writes rows of some tables again, in some of their columns; "" when nothing does."""
        any_column = columns >= ALL_COLUMNS
        return next(
            (
                where
                for where, touch in self._all()
                if touch.how in hows and touch.table in tables and (any_column or touch.meets(columns))
            ),
            "",
        )

    def set_before(self, sequence: str) -> str:
        """Say which statement sets a sequence before it; "" when none does."""
        return _setting(self.sets[0], sequence)

    def set_since(self, sequence: str) -> str:
        """Say which statement sets a sequence after it; "" when none does."""
        return _setting(self.sets[1], sequence)

    def _all(self) -> Iterator[tuple[str, Touch]]:
        for name, touch in (*(("", touch) for touch in self.own), *self.later):
            yield _place(name, touch), touch


def _setting(sets: Sequence[tuple[str, SetSequence]], sequence: str) -> str:
    return next((_place(name, each) for name, each in sets if each.may_mean(sequence)), "")


def _place(name: str, touch: Touch | SetSequence) -> str:
    return f"{name} line {touch.line} {touch.words}".lstrip()


def after(
    statement: DataStatement, schema: str, later: Sequence[Script], before: Sequence[Script] = ()
) -> After:
    """Return what came after a statement: `later` are scripts that may have run after its own, `before` the others."""
    own = tuple(touch for touch in touches(statement.script, schema) if touch.at > statement.at)
    others = tuple((name, touch) for name, script in later for touch in touches(script, schema))
    sets = [("", each) for each in set_sequences(statement.script)]
    earlier = [(name, each) for name, script in before for each in set_sequences(script)]
    since = [(name, each) for name, script in later for each in set_sequences(script)]
    return After(
        statement=statement,
        schema=schema,
        before=before,
        own=own,
        later=others,
        sets=(
            (*earlier, *(each for each in sets if each[1].at < statement.at)),
            (*(each for each in sets if each[1].at > statement.at), *since),
        ),
    )
