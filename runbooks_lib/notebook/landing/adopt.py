"""No phase yet? On the landing page one is drafted out of a Prisma project and its database, which is only read."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ipywidgets

from runbooks_lib.archive.run import runs_folder
from runbooks_lib.drafting.adoption import Reason, a_phase_can_help, can_be_drafted, draft, to_ask
from runbooks_lib.drafting.diagnosis import Diagnosis
from runbooks_lib.drafting.diagnosis_lines import seen_lines
from runbooks_lib.drafting.phase_new import PHASE_FILE, free_folder_for
from runbooks_lib.errors import PreconditionFailed
from runbooks_lib.notebook.landing.panel import EXPECTED, words_of
from runbooks_lib.notebook.landing.picker import WIDTH, status
from runbooks_lib.phase import is_service_name
from runbooks_lib.postgres.session.service_file import service_names
from runbooks_lib.prisma.named import PROJECT_VARIABLE
from runbooks_lib.visible import visible_html

TITLE = "No phase yet? Draft one out of a Prisma project and its database"
LONG = "Looking: some seconds, with hundreds of migrations a minute. Nothing is written to the database."
WHOLE = {"description_width": "8em"}
PRE = '<pre style="white-space: pre-wrap; line-height: 1.3">{}</pre>'


class Adoption:
    """A closed box: which database and project, what state that is, the reasons that are wanted, and the draft.

    `drafted` gets the folder of a phase that was drafted, which is to be chosen, and its project.
    """

    def __init__(self, drafted: Callable[[Path, Path], None]) -> None:
        self._drafted = drafted
        self._found: Diagnosis | None = None
        names = [name for name in sorted(service_names()) if is_service_name(name)]
        project = os.environ.get(PROJECT_VARIABLE, "")
        self.service = ipywidgets.Dropdown(options=names, description="Service", layout=WIDTH, style=WHOLE)
        self.project = _text("Prisma project", "its folder, or its schema", project)
        self.folder = _text("Phase folder", "a new folder")
        self.reasons: Mapping[Reason, Any] = {each: _text(f"Why {each}?", each.question) for each in Reason}
        self.look = ipywidgets.Button(description="Look at it", disabled=not names)
        self.draft = ipywidgets.Button(description="Draft a phase")
        self._seen, self._said = ipywidgets.HTML(), ipywidgets.HTML()
        self._asked = ipywidgets.VBox()
        for name in ("service", "project", "folder", "look", "draft"):
            getattr(self, name).add_class(f"runbooks-adopt-{name}")
        for reason, field in self.reasons.items():
            field.add_class(f"runbooks-adopt-{reason}")
        self._said.add_class("runbooks-adopt-said")
        self.look.on_click(lambda _: self._act(self._look))
        self.draft.on_click(lambda _: self._act(self._draft))
        for chosen in (self.service, self.project):
            chosen.observe(lambda _: self._turn_away(), "value")
        rows = [self.service, self.project, self.look, self._seen, self._asked, self._said]
        self.widget = ipywidgets.Accordion(
            [ipywidgets.VBox(rows)], titles=(TITLE,), selected_index=None, layout={"width": "auto"}
        )
        self.widget.add_class("runbooks-adopt")

    def _act(self, action: Callable[[], str]) -> None:
        """Do what was clicked, and say what became of it; a defect of ours is also raised."""
        self.look.disabled = self.draft.disabled = True
        self._say(LONG)
        try:
            self._say(action())
        except Exception as error:
            self._say(words_of(error), good=False)
            if not isinstance(error, EXPECTED):
                raise
        finally:
            self.look.disabled = self.draft.disabled = False

    def _turn_away(self) -> None:
        """Forget what was seen and given for another database or project: a reason is for one of them."""
        self._forget()
        for field in self.reasons.values():
            field.value = ""

    def _forget(self) -> None:
        self._found, self._seen.value, self._asked.children = None, "", ()
        self._say("")

    def _look(self) -> str:
        from runbooks_lib.drafting.diagnose import diagnose  # half a second that 00_start need not wait for

        self._forget()
        project = self._project()
        found = diagnose(self.service.value, project)
        self._seen.value = PRE.format("\n".join(map(visible_html, seen_lines(found))))
        if not a_phase_can_help(found):
            return _instead(found)
        self._found, wanted = found, to_ask(found)
        self.folder.value = str(free_folder_for(self.service.value, runs_folder().parent))
        self._asked.children = (*(self.reasons[each] for each in wanted), self.folder, self.draft)
        return "Say why, where that is asked, and press Draft a phase." if wanted else "Press Draft a phase."

    def _draft(self) -> str:
        if self._found is None:
            raise PreconditionFailed("Nothing was looked at.", "Press Look at it.")
        reasons = {each: self.reasons[each].value.strip() for each in to_ask(self._found)}
        if not can_be_drafted(self._found, reasons):
            raise PreconditionFailed(
                "The database has migrations that the project's folder lacks.",
                f"Say why they may stay, or first: {self._found.next}",
            )
        folder = Path(self.folder.value).expanduser().absolute()
        drafted = draft(self.service.value, self._project(), folder, reasons)
        file = folder / PHASE_FILE
        self._asked.children = ()
        self._seen.value = PRE.format(visible_html(file.read_text("utf-8")))
        self._drafted(folder, self._project())
        return (
            f"Drafted {file}, {drafted.lines} lines, and chosen above. Read what is marked REVIEW, change in the file "
            "what you decide otherwise, press Look again, then Begin a run."
        )

    def _project(self) -> Path:
        if not (named := self.project.value.strip()):
            raise PreconditionFailed("No Prisma project is named.", "Name its folder, or its schema.")
        return Path(named).expanduser().absolute()

    def _say(self, text: str, *, good: bool = True) -> None:
        self._said.value = status(text, good=good)


def _instead(found: Diagnosis) -> str:
    """Say what is to be done where no phase can help, or nothing is to be done."""
    more = f" More: runbooks explain {found.door}" if found.door else ""
    return f"Next: {found.next}.{more}" if found.next else "There is nothing that a phase would do."


def _text(description: str, placeholder: str, value: str = "") -> Any:
    return ipywidgets.Text(
        value=value, description=description, placeholder=placeholder, layout=WIDTH, style=WHOLE
    )
