"""What of a statement's effect does a comparison of catalogues not show? Judged by its kind, before anything is run.

A kind that is not known here is not judged: only what is known to be shown may count as shown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from runbooks_lib.postgres.script.blocks import in_block
from runbooks_lib.postgres.script.pieces import Node, Piece, every, pieces, value

ROWS = "rows"


def _named_in(text: str) -> frozenset[str]:
    return frozenset(text.split())


# What these do is read back from the catalogue.
_SHOWN = _named_in("""
    AlterDefaultPrivilegesStmt AlterDomainStmt AlterEnumStmt AlterEventTrigStmt AlterExtensionContentsStmt
    AlterFdwStmt AlterForeignServerStmt AlterFunctionStmt AlterObjectDependsStmt AlterObjectSchemaStmt
    AlterOpFamilyStmt AlterOperatorStmt AlterOwnerStmt AlterPolicyStmt AlterPublicationStmt AlterStatsStmt
    AlterTSConfigurationStmt AlterTSDictionaryStmt AlterTypeStmt CompositeTypeStmt CreateAmStmt CreateCastStmt
    CreateConversionStmt CreateDomainStmt CreateEnumStmt CreateEventTrigStmt CreateExtensionStmt CreateFdwStmt
    CreateForeignServerStmt CreateForeignTableStmt CreateFunctionStmt CreateOpClassStmt CreateOpFamilyStmt
    CreatePLangStmt CreatePolicyStmt CreatePublicationStmt CreateRangeStmt CreateSchemaStmt CreateSeqStmt
    CreateStatsStmt CreateStmt CreateTransformStmt CreateTrigStmt DefineStmt DropOwnedStmt DropStmt
    DropUserMappingStmt IndexStmt ReassignOwnedStmt RenameStmt RuleStmt ViewStmt
""")
# These leave nothing behind that a later session could find.
_LEAVES_NOTHING = _named_in("""
    CheckPointStmt ClosePortalStmt ConstraintsSetStmt DeallocateStmt DeclareCursorStmt DiscardStmt FetchStmt
    ListenStmt LockStmt PrepareStmt ReindexStmt TransactionStmt UnlistenStmt VacuumStmt VariableShowStmt
""")
# What belongs to the server or the whole database, and to no schema.
SERVER = {
    "AlterDatabaseRefreshCollStmt": "the database",
    "AlterDatabaseStmt": "the database",
    "AlterRoleSetStmt": "settings of a role",
    "AlterRoleStmt": "a role of the server",
    "AlterSystemStmt": "settings of the server",
    "AlterTableSpaceOptionsStmt": "a tablespace of the server",
    "CreateRoleStmt": "a role of the server",
    "CreateTableSpaceStmt": "a tablespace of the server",
    "CreatedbStmt": "another database",
    "DropRoleStmt": "a role of the server",
    "DropTableSpaceStmt": "a tablespace of the server",
    "DropdbStmt": "another database",
    "GrantRoleStmt": "membership of the server's roles",
    "LoadStmt": "a library of the server",
}
_WORDS = {
    "AlterEventTrigStmt": "ALTER EVENT TRIGGER",
    "AlterSeqStmt": "ALTER SEQUENCE",
    "CompositeTypeStmt": "CREATE TYPE",
    "CreateEventTrigStmt": "CREATE EVENT TRIGGER",
    "CreateSeqStmt": "CREATE SEQUENCE",
    "CreateStmt": "CREATE TABLE",
    "CreateTrigStmt": "CREATE TRIGGER",
    "DefineStmt": "CREATE",
    "IndexStmt": "CREATE INDEX on",
    "RuleStmt": "CREATE RULE on",
    "ViewStmt": "CREATE VIEW",
    "CallStmt": "CALL",
    "ClusterStmt": "CLUSTER",
    "CopyStmt": "COPY",
    "DeleteStmt": "DELETE",
    "DoStmt": "DO block",
    "ExecuteStmt": "EXECUTE",
    "InsertStmt": "INSERT",
    "MergeStmt": "MERGE",
    "NotifyStmt": "NOTIFY",
    "RefreshMatViewStmt": "REFRESH MATERIALIZED VIEW",
    "SelectStmt": "SELECT",
    "TruncateStmt": "TRUNCATE",
    "UpdateStmt": "UPDATE",
    "VariableSetStmt": "SET",
}
# Settings that decide how long a session waits and what it tells, and nothing of what it makes.
_PATIENCE = _named_in("""
    application_name client_min_messages deadlock_timeout idle_in_transaction_session_timeout idle_session_timeout
    lock_timeout log_min_messages log_statement maintenance_work_mem statement_timeout transaction_timeout
    work_mem
""")
# What belongs to the server, or holds rows: a catalogue is not read for it.
_NO_SCHEMA = _named_in("""
    OBJECT_DATABASE OBJECT_LARGEOBJECT OBJECT_PARAMETER_ACL OBJECT_ROLE OBJECT_SUBSCRIPTION OBJECT_TABLESPACE
""")
_TYPED_BY = ("objtype", "objectType", "renameType", "removeType")
# Whose privileges and comments are read all the same.
_OF_DATABASE = {"GrantStmt", "CommentStmt"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Unjudged:
    """A statement, or a part of one, that is not judged: where it stands, what it is, and why not."""

    line: int
    what: str
    why: str

    @property
    def words(self) -> str:
        """Say it for a list, such as `line 3 INSERT public.Plan (rows)`."""
        return f"line {self.line} {self.what} ({self.why})"


def unjudged(piece: Piece) -> Unjudged | None:
    """Return what a comparison of catalogues does not show of a statement; None when it shows all."""
    why = _why(piece)
    return Unjudged(line=piece.line, what=in_words(piece), why=why) if why else None


def _why(piece: Piece) -> str:
    if piece.tag in _LEAVES_NOTHING:
        return ""
    if piece.tag in SERVER:
        return SERVER[piece.tag]
    typed = {piece.node.get(key) for key in _TYPED_BY} & _NO_SCHEMA
    if typed and not (piece.tag in _OF_DATABASE and typed == {"OBJECT_DATABASE"}):
        return "what belongs to no schema"
    if piece.tag in _SHOWN:
        return ""
    in_part = _IN_PART.get(piece.tag)
    return in_part(piece.node) if in_part else "an effect that is not compared"


def _select(node: Node) -> str:
    if node.get("intoClause"):
        return ROWS
    if any(next(every(node, tag), None) for tag in ("InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt")):
        return ROWS
    return "what the function does" if next(every(node, "FuncCall"), None) else ""


def _set(node: Node) -> str:
    return "" if node.get("name", "").lower() in _PATIENCE else "a setting of the session"


def _alter_table(node: Node) -> str:
    commands = [command["AlterTableCmd"] for command in node.get("cmds", ())]
    if any(_rewrites(command) for command in commands):
        return "rows that USING computes"
    if any("restart" in (name for name, _ in _options(command)) for command in commands):
        return "where a sequence stands"
    return ""


def empties_a_column(text: str) -> bool:
    """Return whether an ALTER TABLE drops a column and makes it again: then its values are lost."""
    for piece in pieces(text) or ():
        commands = [command["AlterTableCmd"] for command in piece.node.get("cmds", ())]
        dropped = {each.get("name") for each in commands if each.get("subtype") == "AT_DropColumn"}
        added = (each["def"]["ColumnDef"] for each in commands if each.get("subtype") == "AT_AddColumn")
        if any(column.get("colname") in dropped for column in added):
            return True
    return False


def _rewrites(command: Node) -> bool:
    using = command.get("def", {}).get("ColumnDef", {}).get("raw_default")
    return command.get("subtype") == "AT_AlterColumnType" and using is not None


def _options(command: Node) -> list[tuple[str, Node | None]]:
    found = every(command.get("def", {}), "DefElem")
    return [(element["defname"], element.get("arg")) for element in found]


def _alter_sequence(node: Node) -> str:
    names = {element["DefElem"]["defname"] for element in node.get("options", ())}
    return "where a sequence stands" if "restart" in names else ""


def _alter_database(node: Node) -> str:
    return "a setting that may be secret" if "." in node.get("setstmt", {}).get("name", "") else ""


def _create_as(node: Node) -> str:
    return "" if node.get("into", {}).get("skipData") else ROWS


def _do(node: Node) -> str:
    """Of a block that only makes, changes and drops objects, the catalogue shows all, as of its statements alone."""
    within = in_block(node)
    return "what the block does" if within is None or any(map(unjudged, within)) else ""


def _explain(node: Node) -> str:
    analyzed = any(element["defname"] == "analyze" for element in every(node.get("options", ()), "DefElem"))
    return "what the statement does" if analyzed else ""


def _always(why: str) -> Callable[[Node], str]:
    return lambda _: why


_IN_PART: Mapping[str, Callable[[Node], str]] = {
    "AlterDatabaseSetStmt": _alter_database,
    "AlterExtensionStmt": _always("an extension's version"),
    "AlterSeqStmt": _alter_sequence,
    "AlterTableStmt": _alter_table,
    "CallStmt": _always("what the procedure does"),
    "AlterUserMappingStmt": _always("options, which may be secret"),
    "CommentStmt": _always(""),
    "CreateUserMappingStmt": _always("options, which may be secret"),
    "CreateTableAsStmt": _create_as,
    "DoStmt": _do,
    "ExecuteStmt": _always("what the statement does"),
    "ExplainStmt": _explain,
    "GrantStmt": _always(""),
    "NotifyStmt": _always("who hears it"),
    "SelectStmt": _select,
    "VariableSetStmt": _set,
    **dict.fromkeys(
        (
            "CopyStmt",
            "DeleteStmt",
            "InsertStmt",
            "MergeStmt",
            "RefreshMatViewStmt",
            "TruncateStmt",
            "UpdateStmt",
        ),
        _always(ROWS),
    ),
}


def in_words(piece: Piece) -> str:
    """Name a statement by its kind and object, such as `INSERT Plan`: its text may hold what is not to be shown."""
    kind = _WORDS.get(piece.tag) or _spelt(piece.tag)
    named = _named(piece.node)
    return f"{kind} {named}" if named else kind


def _spelt(tag: str) -> str:
    """Return the tag of a tree as SQL's words, about: AlterRoleSetStmt is ALTER ROLE SET."""
    spaced = "".join(f" {letter}" if letter.isupper() else letter for letter in tag.removesuffix("Stmt"))
    return spaced.strip().upper()


def _named(node: Node) -> str:
    for key in ("relation", "sequence", "view"):
        if found := node.get(key):
            return ".".join(filter(None, (found.get("schemaname"), found["relname"])))
    if into := (node.get("into") or node.get("intoClause") or {}).get("rel"):
        return ".".join(filter(None, (into.get("schemaname"), into["relname"])))
    relations = [found["RangeVar"]["relname"] for found in node.get("relations", ()) if "RangeVar" in found]
    calls = [
        ".".join(str(value(part)) for part in call["funcname"])
        for call in (*every(node, "FuncCall"), *every(node, "funccall"))
    ]
    role = node.get("role") or ""  # by its name alone, or as PostgreSQL specifies one
    role = role.get("rolename", "") if isinstance(role, dict) else role
    first = role or node.get("name") or node.get("extname") or node.get("dbname")
    return ", ".join(relations) or str(first or "") or ", ".join(dict.fromkeys(calls))
