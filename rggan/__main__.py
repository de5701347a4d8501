"""python -m rggan, and the `rggan` command."""

import contextlib
import errno
import io
import logging
import os
import sys

STOPPED = 130  # 128 + SIGINT
OPEN_FILES = 4096  # wanted; many systems allow so many, though they begin with 256


def entry() -> None:
    """Exit with the command's code; quietly where nobody reads on (`rggan train --help | head`), and with one line
    where Ctrl-C comes while modules are still loaded, or the system takes no output or gives no file."""
    more_open_files()
    fill_closed()
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it tells of each home that it cannot write to
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names that the terminal has no letters for
    try:
        try:
            from rggan.cli.main import main

            code = main()
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except BrokenPipeError:
        from rggan.cli.spelling import BROKEN_PIPE

        silence_output()
        code = BROKEN_PIPE
    except OSError as error:  # of the output, mostly: what else is read or written has sentences of its own
        silence_output()
        print(f"rggan: {told(error)}", file=sys.stderr)
        code = 1
    except KeyboardInterrupt:
        print("rggan: stopped before it began.", file=sys.stderr)
        code = STOPPED
    sys.exit(code)


def silence_output() -> None:
    """Python writes at its exit what is left."""
    if sys.stdout is not None:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def told(error: OSError) -> str:
    """
    >>> told(OSError(28, "No space left on device"))
    'Cannot write the output: No space left on device; make room, or send it somewhere else.'
    """
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return "Too many files are open; raise the limit (`ulimit -n 1024`)."
    if error.filename is not None:
        return f"Cannot read or write {error.filename}: {error.strerror}."
    return f"Cannot write the output: {error.strerror or error}; make room, or send it somewhere else."


def fill_closed() -> None:
    """Open the null device in place of a closed input or output, where the next file would lie and be printed into."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest that is free: this one


def more_open_files() -> None:
    """As many as this process may have of those it wants."""
    with contextlib.suppress(ImportError, OSError, ValueError):  # Windows has no such limit
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


if __name__ == "__main__":
    entry()
