"""What a notebook opens, asks, decides and shows; with a front end as widgets, without one as plain tables.

ipywidgets is imported only where a person is: it is a twentieth of what a kernel has to load.
"""

from runbooks_lib.notebook.decision import decide
from runbooks_lib.notebook.tables import gate, show
from runbooks_lib.notebook.walkthrough import open_step

__all__ = ["decide", "gate", "open_step", "show"]
