"""The one exception that is the user's to mend."""

from __future__ import annotations

from pathlib import Path


class UserError(Exception):
    """Bad input: the message is one clear sentence that says what to do next.

    The command line prints it and exits with code 2; library code may catch it.
    """


def make_folder(path: Path) -> None:
    """Make a folder with its parents, unless it is there.

    Raises:
        UserError: it cannot be made (a file stands there, or the place is read-only).
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"Cannot write to the folder {path}: {error.strerror}.") from error
