"""python -m rggan, and the `rggan` command."""

import os
import sys

STOPPED = 130  # 128 + SIGINT


def entry() -> None:
    """Exit with the command's code; quietly where nobody reads on (`rggan train --help | head`), and with one line
    where Ctrl-C comes while modules are still loaded."""
    try:
        try:
            from rggan.cli.main import main

            code = main()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        from rggan.cli.spelling import BROKEN_PIPE

        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python writes at its exit what is left
        code = BROKEN_PIPE
    except KeyboardInterrupt:
        print("rggan: stopped before it began.", file=sys.stderr)
        code = STOPPED
    sys.exit(code)


if __name__ == "__main__":
    entry()
