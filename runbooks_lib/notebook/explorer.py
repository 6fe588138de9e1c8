"""All findings of an answer, to be filtered, sorted and opened: only where a person looks at them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets

from runbooks_lib.checks import Check
from runbooks_lib.findings import Finding, Verdict
from runbooks_lib.notebook.style import STYLE, badge
from runbooks_lib.postgres.queries import query
from runbooks_lib.visible import visible_html

MAX_SHOWN = 200
EVERY = "every verdict"
# The catalogue query by which a check sees; the others read files, or ask Prisma or HTTP.
SQL_OF = {
    "attached": (Check.NOTHING_ELSE_ACTS_ON_TABLE,),
    "blockers": (Check.NOTHING_BLOCKS,),
    "columns": (Check.COLUMNS_ARE,),
    "constraints": (Check.COL_IS_PK,),
    "enums": (Check.HAS_ENUM, Check.ENUM_HAS_LABELS, Check.ENUM_OWNER_IS),
    "finder": (Check.OBJECT_IS_FOUND,),
    "headroom": (Check.CONNECTIONS_ARE_FREE,),
    "identity": (
        Check.TARGET_ANSWERS,
        Check.TARGET_ROLE_IS,
        Check.TARGET_DATABASE_IS,
        Check.STANDBY_IS_OF_PRIMARY,
    ),
    "indexes": (Check.HAS_INDEX, Check.INDEX_IS, Check.INDEX_IS_VALID, Check.INDEX_OWNER_IS),
    "privileges": (Check.ROLE_MAY,),
    "relations": (Check.HAS_TABLE, Check.TABLE_OWNER_IS),
    "replication": (Check.STANDBY_IS_STREAMING, Check.REPLICATION_LAG_IS, Check.STANDBY_HAS_REPLAYED),
}
_ORDER: dict[str, Callable[[Finding], Any]] = {
    "worst first": lambda f: -list(Verdict).index(f.verdict),
    "by object": lambda f: (f.object, f.target),
    "by target": lambda f: (f.target, f.object),
    "by check": lambda f: (f.check, f.target, f.object),
}


def explorer(findings: Sequence[Finding]) -> Any:
    """Return a closed box that opens to all findings, with a filter by verdict and text, and an order."""
    verdicts = [EVERY, *dict.fromkeys(f.verdict.value for f in findings)]
    verdict = ipywidgets.Dropdown(options=verdicts, description="Verdict")
    text = ipywidgets.Text(placeholder="object, check, target …", description="Filter")
    order = ipywidgets.Dropdown(options=list(_ORDER), description="Order")
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
    head = "".join(f"<th>{name}</th>" for name in ("verdict", "target", "finding"))
    table = f'<table class="runbooks"><tr>{head}</tr>{rows}</table>'
    return f"{STYLE}<p>{len(findings)} findings</p>{table}{more}"


def _row(finding: Finding) -> str:
    verdict = f'<b class="verdict {finding.verdict}">{badge(finding.verdict)}</b>'
    said = [f"found: {finding.have}", f"expected: {finding.want}", *([finding.hint] if finding.hint else [])]
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
