"""The `multijoint` command."""

import sys

try:
    from multijoint.cli.main import main
except KeyboardInterrupt:
    sys.stderr.write("interrupted\n")
    sys.exit(130)

__all__ = ["main"]
