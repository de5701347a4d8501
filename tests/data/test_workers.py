"""Processes that decode pictures: what they answer, and what they survive."""

import io
import json
import os
import signal
import struct
import subprocess
import sys
import time
import zlib
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from rggan import UserError
from rggan.data import load_images
from rggan.data import parallel as parallel_module
from rggan.data import worker as worker_module
from rggan.data import workers as workers_module
from rggan.data.decode import open_picture, to_pixels
from rggan.data.parallel import in_order
from rggan.data.picture import Picture, parse_formats
from rggan.data.pixels import pixels_from
from rggan.data.workers import Asked, NoRoom, Worker, Workers, answers

HOW = {"size": (16, 16), "channels": "rgba", "resize": "crop", "background": (255, 255, 255)}


def encoded(form="png", size=(24, 20), seed=0, mode="RGB"):
    values = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(values).convert(mode).save(stream, form)
    return stream.getvalue()


def asked(content, name="a.png", **limits):
    return Asked(Picture(name, lambda: content, **limits), content)


def chunk(kind, data=b""):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def many_chunks(count):
    """A PNG of a few pixels, behind so many empty private chunks."""
    png = encoded()
    return png[:33] + chunk(b"prVt") * count + png[33:]


@pytest.fixture
def pool():
    found = Workers(1)
    yield found
    found.close()


def test_a_worker_answers_as_this_process_does():
    contents = [encoded(form, seed=i) for i, form in enumerate(("png", "jpeg", "webp", "tiff", "bmp", "gif"))]
    found = answers("pixels", [asked(content) for content in contents], **HOW)
    for content, told in zip(contents, found, strict=True):
        alone = to_pixels(open_picture(asked(content).picture), (16, 16), 4)
        assert np.array_equal(pixels_from(told, HOW).values, alone)


def test_workers_need_no_torch(pool):
    code = (
        "import sys; import rggan.data.worker as w; [w.task_of(t) for t in w.TASKS]; sys.exit('torch' in sys.modules)"
    )
    path = os.pathsep.join(sys.path)
    assert subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}).returncode == 0


def test_a_picture_that_takes_long_is_unreadable_and_the_others_are_read(pool, monkeypatch):
    monkeypatch.setattr(workers_module, "TO_OPEN", 0.3)
    pictures = [asked(encoded(seed=0)), asked(many_chunks(500_000), "long.png"), asked(encoded(seed=1))]
    first, long, last = pool.answers("pixels", pictures, **HOW)
    assert long == "decoding it takes far longer than a picture of its size needs"
    assert isinstance(first, tuple)
    assert isinstance(last, tuple)
    monkeypatch.setattr(pool, "ask", lambda *given: pytest.fail("decoded again"))
    assert pool.answers("pixels", pictures[1:2], **HOW) == [long]


def test_memory_is_limited(pool, monkeypatch):
    monkeypatch.setattr(workers_module, "LARGE_MEMORY", 100 << 20)
    monkeypatch.setattr(workers_module, "BYTES_PER_PIXEL", 0)
    stream = io.BytesIO()
    Image.new("RGB", (6000, 6000)).save(stream, "png", compress_level=1)
    large, small = pool.answers("pixels", [asked(stream.getvalue()), asked(encoded())], **HOW)
    assert large == "decoding it takes more than 0.1 GB of memory"
    assert isinstance(small, tuple)


def test_memory_that_was_limited_before_is_the_machines(monkeypatch):
    monkeypatch.setattr(worker_module, "limit_time", lambda seconds: None)
    request = worker_module.Request("pixels", [], [], {}, 1 << 30, 0, 0, large=True)

    def no_memory(picture, content):
        raise MemoryError

    told, _ = worker_module.answer(no_memory, asked(encoded()).picture, b"", request)
    assert told == {"machine": "decoding it takes more than 1.1 GB of memory"}  # no limit of ours is set in here


def test_a_file_far_beyond_its_pixels_is_refused(pool):
    assert pool.answers("pixels", [asked(encoded() + bytes(5 << 20))], **HOW) == [
        f"its {len(encoded()) + (5 << 20):,} bytes are far more than 24x20 pixels need"
    ]


def test_of_a_stack_the_first_is_read_however_many_there_are(pool):
    noise = [Image.fromarray(np.random.default_rng(i).integers(0, 256, (64, 64), dtype=np.uint8)) for i in range(1200)]
    stream = io.BytesIO()
    noise[0].save(stream, "gif", save_all=True, append_images=noise[1:])
    assert len(stream.getvalue()) > worker_module.FREE_BYTES + 64 * 64 * worker_module.BYTES_PER_PIXEL
    ((told, _),) = pool.answers("pixels", [asked(stream.getvalue())], **HOW)
    assert told["stack"]


class Dying(Worker):
    """Ends by a signal when it is asked for the picture 'bad'; `left`: how often."""

    number, left = signal.SIGSEGV, 99

    def ask(self, request, contents):
        for place, limits in enumerate(request.limits):
            if limits["name"] == "bad" and Dying.left > 0:
                if place == 0:
                    Dying.left -= 1
                    os.kill(self.process.pid, self.number)
                    self.process.wait()
                    contents = [bytes(1 << 20)]  # the pipe is broken
                break
        yield from super().ask(request, contents)


@pytest.mark.parametrize(
    ("number", "left"), [(signal.SIGSEGV, 1), (signal.SIGKILL, 1), (signal.SIGSEGV, 9), (signal.SIGKILL, 9)]
)
def test_a_process_that_dies_is_replaced(pool, monkeypatch, number, left):
    """Once may be an accident; twice a crash is the picture's, and a kill is the machine's."""
    monkeypatch.setattr(workers_module, "Worker", Dying)
    monkeypatch.setattr(Dying, "number", number)
    monkeypatch.setattr(Dying, "left", left)
    pictures = [asked(encoded(seed=i), name) for i, name in enumerate(("bad", "a", "b"))]
    if left > 1 and number == signal.SIGKILL:
        with pytest.raises(NoRoom, match="Cannot decode bad now: its process was ended by SIGKILL; free some memory"):
            pool.answers("pixels", pictures, **HOW)
        return
    bad, *good = pool.answers("pixels", pictures, **HOW)
    assert all(isinstance(told, tuple) for told in good)
    assert isinstance(bad, tuple) if left == 1 else bad == "its decoder crashed (was ended by SIGSEGV)"


def test_large_pictures_are_decoded_one_at_a_time(pool, monkeypatch):
    entered = []

    class Counted:
        def __enter__(self):
            entered.append(1)

        def __exit__(self, *given):
            pass

    monkeypatch.setattr(workers_module, "ONE_LARGE", Counted())
    stream = io.BytesIO()
    Image.new("L", (4001, 4001)).save(stream, "png", compress_level=1)
    found = pool.answers("pixels", [asked(stream.getvalue()), asked(encoded()), asked(stream.getvalue())], **HOW)
    assert all(isinstance(told, tuple) for told in found)
    assert len(entered) == 2


def test_no_process_is_left_behind():
    code = (
        "from rggan.data.workers import *; import sys, os, io; from PIL import Image; s = io.BytesIO(); "
        "Image.new('L', (9, 9)).save(s, 'png'); answers('size', [Asked(Picture('a', bytes), s.getvalue())]); "
        "print(workers().free[0].process.pid, flush=True); sys.stdin.read() if sys.argv[1] == 'wait' else None"
    )
    for how in ("end", "wait"):
        process = subprocess.Popen(
            [sys.executable, "-c", code, how],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        number = int(process.stdout.readline())
        if how == "wait":
            process.kill()
        process.communicate()
        deadline = time.monotonic() + 10
        while alive(number) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not alive(number)


def alive(number):
    try:
        with open(f"/proc/{number}/stat") as file:
            return file.read().split()[2] != "Z"
    except OSError:
        return False


def test_order_is_kept_over_groups_and_unreadable_files(monkeypatch):
    monkeypatch.setattr(parallel_module, "GROUP_BYTES", 2000)

    def unreadable():
        raise OSError(5, "Input/output error")

    contents = {f"{i:02d}": encoded(seed=i) for i in range(40)}
    pictures = [
        Picture(name, unreadable if name == "07" else content.__add__ and (lambda c=content: c))
        for name, content in contents.items()
    ]
    found = list(in_order(pictures, "size", lambda picture, content, told: (picture.name, content, told), chunk=9))
    assert [name for name, _, _ in found] == list(contents)
    assert found[7][1:] == (None, "[Errno 5] Input/output error")
    assert all(told == ({"size": [24, 20]}, []) for name, _, told in found if name != "07")


@pytest.mark.parametrize("error", [MemoryError(), OSError(24, "Too many open files"), "cause"])
def test_what_the_machine_lacks_is_no_fault_of_a_picture(tmp_path, error):
    def read():
        if error == "cause":
            raise OSError("Too many open files") from OSError(24, "Too many open files")
        raise error

    with pytest.raises(NoRoom, match=r"Cannot (read|decode) a\.png now: "):
        list(in_order([Picture("a.png", read)], "size", lambda *given: given))


def test_no_room_stops_even_where_bad_pictures_are_left_out(tmp_path, monkeypatch):
    for i in range(3):
        (tmp_path / f"{i}.png").write_bytes(encoded(seed=i))

    def full(*given, **more):
        raise NoRoom("Cannot decode 1.png now: there is no memory left.")

    monkeypatch.setattr(parallel_module, "answers", full)
    with pytest.raises(UserError, match=r"now: there is no memory left"):
        load_images(tmp_path, 16, skip_bad=True)


def test_unusual_formats_are_read_where_they_are_asked_for(tmp_path):
    (tmp_path / "a.tga").write_bytes(encoded("tga"))
    (tmp_path / "b.png").write_bytes(encoded("png"))
    first = load_images(tmp_path, 16)
    assert first.names == ("b.png",)
    assert first.notes == ("passed over: 1 .tga (`formats` TGA reads them)",)
    assert load_images(tmp_path, 16, formats=["tga"]).names == ("a.tga", "b.png")
    (tmp_path / "c.png").write_bytes(encoded("qoi"))
    with pytest.raises(UserError, match=r"c\.png: a picture of the format QOI, which `formats` QOI reads"):
        load_images(tmp_path, 16)
    with pytest.raises(UserError, match=r"`formats` TGAA: choose from .*; did you mean TGA\?"):
        parse_formats(["tgaa"])


@pytest.mark.parametrize(
    "sent",
    [
        *(None, [], {"told": {}}, {"told": 1, "parts": []}),
        *({"told": {}, "parts": parts} for parts in ([1 << 40], [600, 600], [-5], [1 << 40, 10 - (1 << 40)], ["a"], 5)),
    ],
)
def test_answers_of_another_form_end_the_process(sent, monkeypatch):
    """What comes back is never trusted: an endless text is not read, nor more bytes than the process may have."""
    monkeypatch.setattr(workers_module, "WAIT", 5.0)
    one = Worker()
    one.answers.close()
    read, write = os.pipe()
    one.answers = os.fdopen(read, "rb", buffering=0)
    text = json.dumps(sent).encode()
    os.write(write, (1 << 40 if sent is None else len(text)).to_bytes(8, "little") + text)
    with pytest.raises(workers_module.Gone) as gone:
        one.answer(1000)
    assert gone.value.code is not None  # it was not waited for
    assert one.process.returncode is not None
    os.close(write)


def test_a_picture_made_here_takes_no_process(monkeypatch):
    monkeypatch.setattr(workers_module, "workers", lambda: pytest.fail("started"))
    content = encoded()
    (told,) = answers("pixels", [replace(asked(content), picture=Picture("a", lambda: content, own=True))], **HOW)
    assert isinstance(told, tuple)
    assert len(load_images("digits", 16, max_images=20)) == 20
