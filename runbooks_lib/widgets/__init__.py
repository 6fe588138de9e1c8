"""What a notebook opens, asks, decides and shows; with a front end as widgets, without one as plain tables."""

from runbooks_lib.widgets.decision import decide
from runbooks_lib.widgets.start import Start
from runbooks_lib.widgets.tables import gate, show
from runbooks_lib.widgets.walk import open_step

__all__ = ["Start", "decide", "gate", "open_step", "show"]
