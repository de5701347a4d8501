"""python -m rggan, and the `rggan` command."""

import sys

from rggan.cli import main


def entry() -> None:
    """Exit with the command's code."""
    sys.exit(main())


if __name__ == "__main__":
    entry()
