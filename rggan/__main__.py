"""python -m rggan, and the `rggan` command."""

import os
import sys

from rggan.cli.main import main
from rggan.cli.spelling import BROKEN_PIPE


def entry() -> None:
    """Exit with the command's code; quietly where nobody reads on (`rggan train --help | head`)."""
    try:
        try:
            code = main()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python writes at its exit what is left
        code = BROKEN_PIPE
    sys.exit(code)


if __name__ == "__main__":
    entry()
