"""The input form interface: one format in which a set of pictures is stored, and checks for user-defined forms."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from rggan.data.picture import Picture
from rggan.errors import UserError, reason


@dataclass(frozen=True)
class Form:
    """One input form.

    name: used in messages. opens: whether it reads this value of `--data`; it must not raise for any text.
    pictures: lists the pictures for a `--data` and a shell pattern on file names. It decodes nothing, and raises
    UserError on failure. The caller sorts by name and filters by the pattern.
    as_given: keep all pictures in their given order (for a set without files).

    >>> from rggan.data import Form, Picture
    >>> dots = Form("dots", lambda data: set(data) == {"."}, lambda data, pattern: [
    ...     Picture(f"{i}", bytes([255]).__add__, shape=(1, 1, 1)) for i in range(len(data))
    ... ])
    >>> dots.opens("..."), len(dots.pictures("...", "*"))
    (True, 3)
    """

    name: str
    opens: Callable[[str], bool]
    pictures: Callable[[str, str], list[Picture]]
    as_given: bool = False


def checked(form: Form, asked: str) -> Form:
    """Wraps a user-defined form, so that any failure is a UserError that begins with `asked`.

    >>> checked(Form("dots", bool, lambda data, pattern: [data]), "`data` my_forms:DOTS").pictures("...", "*")
    Traceback (most recent call last):
    rggan.errors.UserError: `data` my_forms:DOTS: the form dots gives a str where a Picture should be.
    """
    form_called = f"{asked}: the form {form.name}"

    @contextmanager
    def told(data: str) -> Iterator[None]:
        try:
            yield
        except UserError:  # the form's own message
            raise
        except Exception as error:
            raise UserError(f"{form_called} fails on {data}: {reason(error)}.") from error

    def opens(data: str) -> bool:
        with told(data):
            return bool(form.opens(data))

    def pictures(data: str, pattern: str) -> list[Picture]:
        with told(data):
            found = list(form.pictures(data, pattern))
        if not found:
            raise UserError(f"{form_called} finds no pictures in {data}.")
        for picture in found:
            if (fault := fault_of(picture)) is not None:
                raise UserError(f"{form_called} gives {fault}.")
        return [replace(picture, read=only_bytes(picture.read)) for picture in found]

    return replace(form, opens=opens, pictures=pictures)


def fault_of(picture: object) -> str | None:
    """Returns what is invalid about a picture; None if it is valid.

    >>> fault_of(Picture("cat/1.png", bytes)), fault_of(Picture("1.png", bytes, label=3))
    (None, 'the label 3 of 1.png; it must be text, or None')
    """
    if not isinstance(picture, Picture):
        return f"a {type(picture).__name__} where a Picture should be"
    name: object = picture.name  # whatever the annotations say
    label: object = picture.label
    shape: object = picture.shape
    if not isinstance(name, str):
        return f"the name {name!r}; it must be text"
    if not isinstance(label, str | None):
        return f"the label {label!r} of {name}; it must be text, or None"
    if shape is not None and not is_shape(shape):
        return f"the shape {shape!r} of {name}; it must be (height, width, channels) with 1, 3 or 4 channels, or None"
    return None


def is_shape(shape: object) -> bool:
    """
    >>> is_shape((2, 3, 1)), is_shape((2, 3)), is_shape((2, 3, 2)), is_shape((2, 0, 1)), is_shape((2, 3, 1, 0))
    (True, False, False, False, False)
    """
    if not isinstance(shape, tuple) or len(shape) != 3 or not all(type(side) is int and side > 0 for side in shape):
        return False
    return shape[2] in (1, 3, 4)


def only_bytes(read: Callable[[], object]) -> Callable[[], bytes]:
    """Wraps a reader to raise ValueError for anything but bytes; callers handle whatever the reader raises."""

    def read_bytes() -> bytes:
        content = read()
        if not isinstance(content, bytes):
            raise ValueError(f"its form gives a {type(content).__name__}, not bytes")
        return content

    return read_bytes
