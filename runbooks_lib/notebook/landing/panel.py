"""What stands in one place of a notebook, and is shown anew there."""

from __future__ import annotations

from collections.abc import Callable

from IPython.display import display

from runbooks_lib.errors import RunbookError
from runbooks_lib.findings import Verdict
from runbooks_lib.notebook.tables import bundle_of
from runbooks_lib.report.verdicts import SYMBOLS

Bundle = dict[str, str]
DEFECT = "This is a defect of the runbooks: report it."
EXPECTED = (RunbookError, OSError)  # what else is raised is a defect of ours


def words_of(error: Exception) -> str:
    """Return what an error says, and whether it is a defect."""
    return f"{error}" if isinstance(error, EXPECTED) else f"{type(error).__name__}: {error}. {DEFECT}"


class Panel:
    """Displays what `look` returns, a MIME bundle; what keeps from looking the first time is raised."""

    def __init__(self, look: Callable[[], Bundle]) -> None:
        self._look = look
        self._shown = look()
        self._handle = display(self._shown, raw=True, display_id=True)

    def refresh(self) -> None:
        """Look again and show what is seen; what keeps from looking is shown as ERROR, and raised if it is a defect."""
        try:
            self.show(self._look())
        except Exception as error:
            self.show(self.failed(words_of(error)))
            if not isinstance(error, EXPECTED):
                raise

    def show(self, bundle: Bundle) -> None:
        """Show something where the panel stands, unless it stands there already."""
        if bundle != self._shown:
            self._shown = bundle
            self._handle.update(bundle, raw=True)

    def failed(self, why: str) -> Bundle:
        """Return what is shown when nothing could be seen."""
        return bundle_of([{"verdict": f"{SYMBOLS[Verdict.ERROR]} {Verdict.ERROR}", "why": why}])
