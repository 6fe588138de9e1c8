"""What a notebook opens, asks, decides and shows; with a front end as widgets, without one as plain tables."""

from runbooks_lib.widgets.tables import gate, show

__all__ = ["gate", "show"]
