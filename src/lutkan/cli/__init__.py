"""The command line: one module a verb, glue and printing only."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the `lutkan` command; typer is imported here, so that `import lutkan.cli` stays light."""
    try:
        from lutkan.cli.app import app

        app()
    except KeyboardInterrupt:
        sys.exit(130)
