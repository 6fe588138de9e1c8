"""What a plan would do, for whoever is to confirm it: one sentence, the SQL itself, the locks, and what undoes it."""

from __future__ import annotations

import re
from collections import Counter
from html import escape

from runbooks_lib.facts.writing import Plan, Rehearsal, Undo
from runbooks_lib.notebook.step import Step
from runbooks_lib.notebook.style import STYLE
from runbooks_lib.prisma.settlement import DEPLOYED
from runbooks_lib.steps.baseline_file import read_sql
from runbooks_lib.steps.baseline_plan import State
from runbooks_lib.visible import visible_html, visible_lines

DOES = {State.CREATE: "creates", State.CHANGE: "changes", State.DROP: "removes", State.RUN: "runs"}
NOTS = {State.CHANGE: "changes", State.DROP: "removes"}
PLURALS = {"index": "indexes", "policy": "policies"}
# In the colours of the front end's own editor.
CODE = (
    "<style>.runbooks-sql pre{white-space:pre-wrap;overflow-wrap:break-word;line-height:1.4;margin:4px 0}"
    ".runbooks-plan p{margin:2px 0}"
    ".runbooks-sql .keyword{color:var(--jp-mirror-editor-keyword-color,#7a0099)}"
    ".runbooks-sql .string{color:var(--jp-mirror-editor-string-color,#a8181f)}"
    ".runbooks-sql .comment{color:var(--jp-mirror-editor-comment-color,#0b6650)}</style>"
)
_TOKEN = re.compile(
    r"(?P<comment>--[^\n]*)|(?P<string>'[^']*')|(?P<name>\"[^\"]*\")|(?P<keyword>\b[A-Z]{2,}\b)"
)


def plan_view(step: Step, plan: Plan) -> str:
    """Return it as HTML; what stands in the plan and in its SQL is text there."""
    rehearsed = step.record.facts(Rehearsal)
    parts = [f"<p><b>{visible_html(sentence(step, plan))}</b></p>"]
    if step.phase.baseline is not None:
        parts.append(_folded(f"The SQL: {step.phase.baseline.file}", read_sql(step.phase)))
    locks = [*rehearsed.locks, *(lock for deploy in plan.deploys for lock in deploy.locks)]
    held = "; ".join(f"{mode} on {relation}" for relation, mode in dict.fromkeys(locks))
    parts.append(f"<p>Locks, as rehearsed: {visible_html(held or 'none on what is there already')}.</p>")
    if plan.undo is not None:
        parts.append(_folded(*_way_back(plan.undo, rehearsed.undo)))
    return f'{STYLE}{CODE}<div class="runbooks runbooks-plan">{"".join(parts)}</div>'


def _way_back(undo: Undo, rehearsed: Undo | None) -> tuple[str, str]:
    """Return what undoes the plan: where it is kept and what became of its rehearsal, and its statements."""
    tried = "rehearsed" if rehearsed and rehearsed.rehearsed else "not rehearsed"
    left = [f"-- not taken back: line {each.line}, {each.words}: {each.why}" for each in undo.left_over]
    return f"What undoes it: {undo.path}, {tried}", "\n".join(
        [*left, *(f"{each};" for each in undo.statements)]
    )


def sentence(step: Step, plan: Plan) -> str:
    """Say what the plan would do, where: counted by kind; and what it would not."""
    counted = Counter((State(each.would), each.kind) for each in plan.statements)
    told = [
        f"{verb} {', '.join(_number(n, kind) for (state, kind), n in counted.items() if state is would)}"
        for would, verb in DOES.items()
        if any(state is would for state, _ in counted)
    ]
    deployed = [each.migration for each in plan.settlement if each.action in DEPLOYED]
    told += [f"deploys {_number(len(deployed), 'migration')}"] if deployed else []
    nots = [word for state, word in NOTS.items() if not any(found is state for found, _ in counted)]
    known = not deployed and not any(state is State.RUN for state, _ in counted)  # else it may change rows
    nothing = f"; {' and '.join(nots)} nothing" if nots and told and known else ""
    who = step.sessions.identity(step.phase.written or "")
    said = "; ".join(told) or "finds all that it would make in place"
    return f"{said[0].upper()}{said[1:]} in {who.database} on {who.server}{nothing}."


def _number(count: int, kind: str) -> str:
    return f"{count} {kind if count == 1 else PLURALS.get(kind, f'{kind}s')}"


def _folded(title: str, sql: str) -> str:
    text = visible_lines(sql.strip())
    lines = text.count("\n") + 1
    return (
        f'<details class="runbooks-sql"><summary>{visible_html(title)}, {lines} lines</summary>'
        f'<pre tabindex="0">{highlighted(text)}</pre></details>'
    )


def highlighted(sql: str) -> str:
    """Return SQL as HTML, its comments, strings and keywords told apart; for the eye alone, nothing is parsed."""
    done, parts = 0, []
    for token in _TOKEN.finditer(sql):
        parts.append(escape(sql[done : token.start()]))
        parts.append(f'<span class="{token.lastgroup}">{escape(token[0])}</span>')
        done = token.end()
    return "".join([*parts, escape(sql[done:])])
