"""The `runbooks` command from its first moment on: a Ctrl-C while it is still being loaded ends it like any other."""

from __future__ import annotations

import os
import sys

from runbooks_lib.errors import INTERRUPTED_EXIT_CODE


def main() -> None:
    """Load the command line, and run it."""
    try:
        from runbooks_lib.cli import main as command_line
    except KeyboardInterrupt:
        os.write(2, b"interrupted\n")
        sys.exit(INTERRUPTED_EXIT_CODE)
    command_line()


if __name__ == "__main__":
    main()
