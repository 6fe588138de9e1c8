"""All findings of an answer, to be filtered, sorted and opened: only where a person looks at them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets

from runbooks_lib.findings import Finding, Verdict
from runbooks_lib.notebook.verdicts import COLOURS, SYMBOLS
from runbooks_lib.postgres.queries import query
from runbooks_lib.visible import visible_html

MAX_SHOWN = 200
EVERY = "every verdict"
# The catalogue query by which a check sees; the others read files, or ask Prisma or HTTP.
SQL_OF = {
    "attached": ("nothing_else_acts_on_table",),
    "blockers": ("nothing_blocks",),
    "columns": ("columns_are",),
    "constraints": ("col_is_pk",),
    "enums": ("has_enum", "enum_has_labels", "enum_owner_is"),
    "finder": ("object_is_found",),
    "headroom": ("connections_are_free",),
    "identity": ("target_answers", "target_role_is", "target_database_is", "standby_is_of_primary"),
    "indexes": ("has_index", "index_is", "index_is_valid", "index_owner_is"),
    "privileges": ("role_may",),
    "relations": ("has_table", "table_owner_is"),
    "replication": ("standby_is_streaming", "replication_lag_is", "standby_has_replayed"),
}
_ORDER: dict[str, Callable[[Finding], Any]] = {
    "worst first": lambda f: -list(Verdict).index(f.verdict),
    "by object": lambda f: (f.object, f.target),
    "by target": lambda f: (f.target, f.object),
    "by check": lambda f: (f.check, f.target, f.object),
}


def explorer(findings: Sequence[Finding]) -> Any:
    """Return a closed box that opens to all findings, with a filter by verdict and text, and an order."""
    verdict = ipywidgets.Dropdown(options=[EVERY, *dict.fromkeys(f.verdict.value for f in findings)])
    text = ipywidgets.Text(placeholder="filter: object, check, target …")
    order = ipywidgets.Dropdown(options=list(_ORDER))
    table = ipywidgets.HTML(layout=ipywidgets.Layout(width="100%", max_height="30em", overflow="auto"))
    for widget, name in ((verdict, "verdict"), (text, "filter"), (order, "order"), (table, "findings")):
        widget.add_class(f"runbooks-{name}")

    def refresh(_: object = None) -> None:
        chosen = [
            f
            for f in sorted(findings, key=_ORDER[order.value])
            if verdict.value in (EVERY, f.verdict)
            and text.value.lower() in " ".join(f.to_dict().values()).lower()
        ]
        table.value = findings_html(chosen)

    for widget in (verdict, text, order):
        widget.observe(refresh, "value")
    refresh()
    box = ipywidgets.Accordion([ipywidgets.VBox([ipywidgets.HBox([verdict, text, order]), table])])
    box.set_title(0, f"All {len(findings)} findings")
    box.add_class("runbooks-explorer")
    return box


def findings_html(findings: Sequence[Finding]) -> str:
    """Return findings as an HTML table; a click on one opens its hint and the query that it was seen by."""
    rows = "".join(map(_row, findings[:MAX_SHOWN]))
    more = f"<p>and {len(findings) - MAX_SHOWN} more: filter them</p>" if len(findings) > MAX_SHOWN else ""
    head = "".join(f"<th style='text-align: left'>{name}</th>" for name in ("verdict", "target", "finding"))
    return f"<p>{len(findings)} findings</p><table><tr>{head}</tr>{rows}</table>{more}"


def _row(finding: Finding) -> str:
    colour = COLOURS.get(finding.verdict, "inherit")
    verdict = f'<b style="color: {colour}">{SYMBOLS[finding.verdict]} {finding.verdict}</b>'
    said = [f"have: {finding.have}", f"want: {finding.want}", *([finding.hint] if finding.hint else [])]
    details = "".join(f"<p>{visible_html(line)}</p>" for line in [*said, f"runbooks explain {finding.check}"])
    if sql := sql_of(finding.check):
        details += f"<pre>{visible_html(sql)}</pre>"
    summary = f"{visible_html(finding.check)} {visible_html(finding.object)}"
    return (
        f"<tr><td>{verdict}</td><td>{visible_html(finding.target)}</td>"
        f"<td><details><summary>{summary}</summary>{details}</details></td></tr>"
    )


def sql_of(check: str) -> str | None:
    """Return the query by which a check sees what it judges; None when it looks elsewhere than the catalogue."""
    return next((query(name) for name, checks in SQL_OF.items() if check in checks), None)
