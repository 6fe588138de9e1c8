"""Archives at URLs, and the list of the runs in one."""
