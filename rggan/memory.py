"""How much memory this process may still take, by the machine, its container and its own limits; and when it is out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from rggan.errors import Failed, UserError

FALLBACK = 8 << 30  # bytes, if the system does not report it
CGROUPS = Path("/sys/fs/cgroup")
PROC = Path("/proc")
NO_LIMIT = 1 << 60  # bytes, from which on a limit of cgroup v1 is none
# What PyTorch's CPU allocator says, on Linux and macOS, and on Windows; and of what is larger than any memory.
SAYS = ("can't allocate memory", "not enough memory", "Storage size calculation overflowed", "std::bad_alloc")


def total() -> int:
    """Bytes that this process can have at most: the machine's, or a limit if lower."""
    try:
        machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        machine = FALLBACK
    return min([machine, *(limit for limit, _ in (*containers(), *own_limits()))])


def available() -> int:
    """Bytes that this process may still take: what the machine has free (swap among it), and what is left of limits.

    >>> 0 <= available()
    True
    """
    kilobytes = fields(PROC / "meminfo")
    swap = kilobytes.get("SwapFree", 0) * 1024
    free = kilobytes["MemAvailable"] * 1024 if "MemAvailable" in kilobytes else total()
    found = [free + swap]
    found += [limit - used + swap for limit, used in containers()]
    found += [limit - used for limit, used in own_limits()]
    return max(0, min(found))


def containers() -> Iterator[tuple[int, int]]:
    """(limit, used) in bytes of the control groups that this process is in; files that are cached do not count."""
    with suppress(OSError):
        for line in (PROC / "self/cgroup").read_text().splitlines():
            _, kinds, path = line.split(":", 2)
            if "memory" in kinds.split(","):  # version 1
                root, most, used, files = CGROUPS / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_"
            elif not kinds:
                root, most, used, files = CGROUPS, "memory.max", "memory.current", ""
            else:
                continue
            own = root / path.lstrip("/")
            for group in (own, *own.parents):  # a container sees its own group as the root
                if (limit := number(group / most)) is not None and limit < NO_LIMIT:
                    stat = fields(group / "memory.stat")
                    cached = sum(stat.get(f"{files}{name}_file", 0) for name in ("active", "inactive"))
                    yield limit, max(0, (number(group / used) or 0) - cached)
                if group == root:
                    break


def own_limits() -> Iterator[tuple[int, int]]:
    """(limit, used) in bytes of this process's own limits (`ulimit -v`, `ulimit -d`)."""
    try:
        import resource
    except ImportError:  # Windows
        return
    told = fields(PROC / "self/status")
    for kind, name in ((resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData")):
        limit, _ = resource.getrlimit(kind)
        if limit != resource.RLIM_INFINITY:
            yield limit, told.get(name, 0) * 1024


def fields(path: Path) -> dict[str, int]:
    """{name: number} of a file of such lines; {} where there is none."""
    found = {}
    with suppress(OSError):
        for line in path.read_text().splitlines():
            words = line.split()
            if len(words) > 1 and words[1].isdecimal():
                found[words[0].rstrip(":")] = int(words[1])
    return found


def number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # no such file, or "max"
        return None


def size(count: float) -> str:
    """Bytes for people.

    >>> size(3e6), size(3.21e9), size(12_288e9), size(2e25)
    ('3 MB', '3.2 GB', '12,288 GB', '2e+16 GB')
    """
    if count < 1e9:
        return f"{count / 1e6:,.0f} MB"
    if count < 1e11:
        return f"{count / 1e9:.1f} GB"
    return f"{count / 1e9:,.0f} GB" if count < 1e15 else f"{count / 1e9:.0e} GB"


def refuse(option: str, value: int, each: int, besides: int = 0) -> None:
    """Refuse a number of things that cannot be in memory together, before they are made.

    Args:
        option: which says how many, in backticks. each: bytes of one. besides: of what does not depend on it.

    Raises:
        UserError: they and that need more than is available.

    >>> refuse("`samples`", 10**15, 1000)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    rggan.errors.UserError: `samples` 1,000,000,000,000,000 needs about 1e+09 GB of memory, and ... free: take at \
most ...
    """
    free = available()
    if value * each + besides > free:
        raise UserError(too_much(option, value, value * each + besides, free, (free - besides) // max(1, each)))


def too_much(option: str, value: int, needed: float, free: int, most: int, where: str = "") -> str:
    """The sentence. most: the largest value that fits; below 1 none does. where: is it needed (" on the GPU")."""
    told = f"{option} {value:,} needs about {size(needed)} of memory{where}, and {size(free)} are free"
    return f"{told}: take at most {rounded(most):,}." if most > 0 else f"{told}, which is too little."


def rounded(value: int) -> int:
    """To two digits, downwards: the bound is a rough one.

    >>> rounded(1789), rounded(64)
    (1700, 64)
    """
    unit = 10 ** max(0, len(str(value)) - 2)
    return value // unit * unit


def is_used_up(error: BaseException) -> bool:
    """Whether this is how Python, NumPy or PyTorch say that there is no more memory, on the CPU or on a GPU.

    >>> is_used_up(MemoryError()), is_used_up(RuntimeError("DefaultCPUAllocator: can't allocate memory")), is_used_up(
    ...     RuntimeError("shapes differ"))
    (True, True, False)
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in SAYS)


class OutOfMemory(Failed, MemoryError):
    """There is no more memory; the message is a sentence that says what to do."""
