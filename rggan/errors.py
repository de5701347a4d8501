"""The exceptions that end a command with a sentence: what is the user's to mend, and a run that cannot go on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path

TOO_LONG = re.compile(r"[^\s/\\]{300,}|\S{4097,}")
ENDINGS = ".,:;?')"  # of a sentence, behind a word
LONGEST = 100  # letters of a word that are compared with others


class UserError(ValueError):
    """Bad input: the message is one clear sentence that says what to do next.

    The command line prints it and exits with code 2; library code may catch it, as a ValueError too. What a message
    quotes may hold anything, so line breaks and other characters that do not print become spaces, and a word that is no
    name of a file for its length is shortened.

    >>> print(UserError("no class cat\\ndog"))
    no class cat dog
    """

    def __init__(self, message: str) -> None:
        super().__init__(TOO_LONG.sub(shortened, one_line(message)))


class Failed(RuntimeError):
    """A run cannot go on, though nothing was wrong with what was asked for; the command exits with code 1."""


def one_line(text: str) -> str:
    """With a space for everything that does not print.

    >>> one_line("cat\\x1b[2J\\ndog")
    'cat [2J dog'
    """
    return "".join(letter if letter.isprintable() else " " for letter in text)


def shortened(word: re.Match[str]) -> str:
    """
    >>> TOO_LONG.sub(shortened, f"not {'9' * 5000}.")
    'not 9999999999999999...9999 (5,000 letters).'
    """
    text = word[0].rstrip(ENDINGS) or word[0]
    return f"{text[:16]}...{text[-4:]} ({len(text):,} letters){word[0][len(text) :]}"


def listed(entries: Sequence[str], most: int = 5) -> str:
    """
    >>> listed("abcdefgh"), listed("ab")
    ('a, b, c, d, e and 3 more', 'a, b')
    """
    more = len(entries) - most
    return ", ".join(entries[:most]) + (f" and {more} more" if more > 0 else "")


def nearest(word: str, known: Iterable[str]) -> str:
    """What is to be added to a sentence about an unknown word; "" where none is like it.

    >>> nearest("dif", ["none", "diff"]), nearest("zoom", ["none", "diff"])
    ('; did you mean diff?', '')
    """
    near = get_close_matches(word[:LONGEST], list(known), 1)
    return f"; did you mean {near[0]}?" if near else ""


def reason(error: BaseException) -> str:
    """The last line of what somebody's code raised.

    >>> reason(KeyError("a")), reason(ValueError())
    ("'a'", 'ValueError')
    """
    return (str(error).strip() or type(error).__name__).splitlines()[-1].rstrip(".")


def first_line(error: BaseException | str) -> str:
    """The first line of what a library raised or said, without its full stop.

    >>> first_line(ValueError("bad data. \\nat 0x7f")), first_line(ValueError())
    ('bad data', 'ValueError')
    """
    return (str(error).strip().rstrip(". \n") or type(error).__name__).splitlines()[0].rstrip(". ")


def make_folder(path: Path) -> None:
    """Make a folder with its parents, unless it is there.

    Raises:
        UserError: it cannot be made (a file stands there, or the place is read-only).
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"Cannot write to the folder {path}: {error.strerror}.") from error
    except RecursionError:
        raise UserError(f"Cannot make the folder {path}: it lies too deep.") from None
