"""Walks from seed to seed, mixed styles, grids by class; the films and sheets are read back from their files."""

import errno
import io
import os
import sys

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence

from rggan import Generator, UserError
from rggan.cli.main import main
from rggan.data.pictures import grid, to_pil, to_uint8
from rggan.generation.video import Gif, Mp4, Webp, even, opaque, video_library
from rggan.generation.walks import mixing, slerp, straight, walk
from tests.test_generator import apart, tiny

pytestmark = pytest.mark.slow  # all together they take seconds

SHARES = torch.tensor([0.0, 0.1, 0.25, 0.5, 0.9, 1.0])
needs_video = pytest.mark.skipif(video_library() is None, reason="needs PyAV")


def by_gram_schmidt(a, b, t):
    """The arc another way: turn a's direction by t times the angle, in the plane of both; lengths evenly."""
    a, b = a.double().numpy(), b.double().numpy()
    u = a / np.linalg.norm(a)
    across = b - (b @ u) * u
    v = across / np.linalg.norm(across)
    angle = np.arctan2(np.linalg.norm(across), b @ u)
    length = (1 - t) * np.linalg.norm(a) + t * np.linalg.norm(b)
    return torch.from_numpy(length * (np.cos(t * angle) * u + np.sin(t * angle) * v)).float()


@pytest.mark.parametrize("dimension", [2, 3, 128])
def test_slerp_against_another_formula(dimension):
    for _ in range(20):
        a, b = torch.randn(2, dimension)
        found = slerp(a.expand(6, -1), b.expand(6, -1), SHARES)
        expected = torch.stack([by_gram_schmidt(a, b, float(t)) for t in SHARES])
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        lengths = found.norm(dim=1)
        low, high = sorted((float(a.norm()), float(b.norm())))
        assert (lengths >= low * (1 - 1e-6)).all()
        assert (lengths <= high * (1 + 1e-6)).all()


@pytest.mark.parametrize("way", [slerp, straight])
def test_ends_are_exact(way):
    a, b = torch.randn(2, 500, 128) * torch.tensor([1e-3, 7.0]).view(2, 1, 1)
    assert torch.equal(way(a, b, torch.zeros(500)), a)
    assert torch.equal(way(a, b, torch.ones(500)), b)


@pytest.mark.parametrize("scale", [1.0, 2.0, -1.0, 0.0])
def test_slerp_between_parallel_opposite_and_no_vectors_is_straight(scale):
    a = torch.randn(1, 8)
    for start, end in ((a, scale * a), (scale * a, a)):
        found = slerp(start.expand(6, -1), end.expand(6, -1), SHARES)
        torch.testing.assert_close(found, torch.lerp(start, end, SHARES[:, None]))


@pytest.mark.parametrize("truncation", [1.0, 0.5])
@pytest.mark.parametrize("name", ["sngan", "stylegan2", "fastgan", "biggan"])
def test_a_walk_passes_through_the_pictures_of_its_seeds(name, truncation):
    generator = tiny(name)
    seeds, between = [3, 11, 4], 6
    frames = torch.stack(list(walk(generator, seeds, between, truncation=truncation)))
    assert len(frames) == 21
    assert apart(frames[::7], generator.images(seeds, truncation=truncation)) <= 1
    assert all(not torch.equal(a, b) for a, b in zip(frames, frames.roll(1, 0), strict=True))  # the last leads back


def test_the_pictures_between_are_on_the_way():
    """SNGAN by the arc, StyleGAN2 by the line of styles: frames computed here."""
    plain, styled = tiny("sngan"), tiny("stylegan2")
    seeds = [3, 11]
    z, _ = plain.latents(seeds, None)
    arc = torch.stack([by_gram_schmidt(z[a], z[1 - a], t / 4) for a in range(2) for t in range(4)])
    w, _ = styled.points(seeds)
    line = torch.stack([w[a] + (w[1 - a] - w[a]) * (t / 4) for a in range(2) for t in range(4)])
    with torch.no_grad():
        expected = [to_uint8(plain.network(arc)), to_uint8(styled.network.synthesis(line))]
    for generator, pictures in zip((plain, styled), expected, strict=True):
        frames = torch.stack(list(walk(generator, seeds, 3)))
        assert (frames.int() - pictures.int()).abs().max() <= 1


@pytest.mark.parametrize("name", ["sngan", "stylegan2", "fastgan", "biggan"])
def test_the_class_of_a_walk_is_the_given_one_or_the_first_seeds(name):
    generator = tiny(name, classes=3)
    _, labels = generator.latents(range(8), None)
    seeds = [0, *[seed for seed in range(1, 8) if labels[seed] != labels[0]][:2]]
    for label in (None, "c1"):
        frames = torch.stack(list(walk(generator, seeds, 2, label)))
        assert apart(frames[::3], generator.images(seeds, label or int(labels[0]))) <= 1


def test_walks_that_lead_nowhere_are_refused_at_the_call():
    generator = tiny("sngan")
    for seeds, between, label, truncation in (
        ([1], 3, None, 1),
        ([], 3, None, 1),
        ([1, 2], 0, None, 1),
        ([1, 2], -1, None, 1),
        ([1, 2], 3, "c1", 1),
        ([1, 2], 3, None, 2),
    ):
        with pytest.raises(UserError):
            walk(generator, seeds, between, label, truncation)


def test_mixed_styles_by_hand():
    generator = tiny("stylegan2", classes=3, resolution=(32, 48))
    network, (coarse, fine) = generator.network, ([1, 2], [5, 6, 7])
    with torch.no_grad():
        drawn = {seed: generator.latents([seed] * 16, None) for seed in coarse + fine}
        styles = {seed: network.styles(*drawn[seed], truncation=0.8) for seed in coarse + fine}
        for cut in (None, 1, 5, network.style_count - 1):
            table = mixing(generator, coarse, fine, cut, truncation=0.8).unflatten(0, (3, 4))
            assert (table[0, 0] == 255).all()
            assert apart(table[0, 1:], generator.images(fine, truncation=0.8)) <= 1
            assert apart(table[1:, 0], generator.images(coarse, truncation=0.8)) <= 1
            for i, row in enumerate(coarse):
                for j, column in enumerate(fine):
                    mixed = styles[column].clone()
                    mixed[:, : cut or network.style_count // 2] = styles[row][:, : cut or network.style_count // 2]
                    assert apart(table[1 + i, 1 + j], to_uint8(network.synthesis(mixed))[0]) <= 1


def test_the_corner_of_transparent_pictures_is_transparent():
    table = mixing(tiny("stylegan2", channels=4), [0], [1])
    assert (table[0, :3] == 255).all()
    assert (table[0, 3] == 0).all()


@pytest.mark.parametrize("name", ["sngan", "fastgan", "biggan"])
def test_other_networks_have_no_styles(name):
    with pytest.raises(UserError, match=rf"Styles \(`mix`\) are StyleGAN2's.*{name}"):
        mixing(tiny(name), [0], [1])


@pytest.mark.parametrize("cut", [-1, 0, 8, 9])
def test_layers_that_leave_nothing_to_mix_are_refused(cut):
    with pytest.raises(UserError, match="choose a layer from 1 to 7"):
        mixing(tiny("stylegan2"), [0], [1], cut)


def test_films_of_odd_sides_repeat_the_edge():
    image = torch.randint(256, (3, 5, 7), dtype=torch.uint8)
    padded = even(image)
    assert padded.shape == (3, 6, 8)
    assert torch.equal(padded[:, :5, :7], image)
    assert torch.equal(padded[:, 5, :7], image[:, 4])
    assert torch.equal(padded[:, :, 7], padded[:, :, 6])
    assert even(padded) is padded


def test_transparent_pictures_lie_on_white_in_films():
    image = torch.randint(256, (4, 8, 8), dtype=torch.uint8)
    white = Image.new("RGBA", (8, 8), "white")
    expected = np.asarray(Image.alpha_composite(white, to_pil(image)).convert("RGB")).astype(int)
    assert np.abs(opaque(image).permute(1, 2, 0).numpy() - expected).max() <= 1


def frames_of(path):
    with Image.open(path) as film:
        return [np.asarray(frame.convert("RGB")).astype(int) for frame in ImageSequence.Iterator(film)]


def test_gif_times_do_not_drift(tmp_path):
    for fps in (1, 24, 50, 60):
        film = Gif(fps)
        for shade in range(48):
            film.add(torch.full((1, 16, 16), 5 * shade, dtype=torch.uint8))
        (tmp_path / "walk.gif").write_bytes(film.content())
        with Image.open(tmp_path / "walk.gif") as picture:
            times = [frame.info["duration"] for frame in ImageSequence.Iterator(picture)]
        assert len(times) == 48
        assert abs(sum(times) - 48_000 / fps) <= 5
        assert max(times) - min(times) <= 10
        frames = frames_of(tmp_path / "walk.gif")
        assert [int(frame[0, 0, 0]) for frame in frames] == [5 * shade for shade in range(48)]  # grey is exact


def test_no_colour_of_a_gif_is_far_off(tmp_path):
    """A smooth picture of many colours; the median cut is off by more than 60."""
    x, y = torch.meshgrid(torch.linspace(-1, 1, 64), torch.linspace(-1, 1, 64), indexing="ij")
    image = to_uint8(torch.stack([(3 * x + y).sin(), (3 * y - 2 * x).cos(), (3 * x * y + 1).sin()]))
    film = Gif(10)
    film.add(image)
    (tmp_path / "walk.gif").write_bytes(film.content())
    (frame,) = frames_of(tmp_path / "walk.gif")
    assert np.abs(frame - image.permute(1, 2, 0).numpy()).max() <= 32


def video_of(path):
    av = video_library()
    with av.open(str(path)) as container:
        track = container.streams.video[0]
        return track.average_rate, [frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(track)]


def test_webp_keeps_alpha_and_its_times_do_not_drift():
    images = torch.randint(256, (9, 4, 24, 32), dtype=torch.uint8)
    film = Webp(24, note="a note")
    for image in images:
        film.add(image)
    content = film.content()
    assert b"a note" in content
    with Image.open(io.BytesIO(content)) as picture:
        assert (picture.n_frames, picture.size, picture.mode, picture.info["loop"]) == (9, (32, 24), "RGBA", 0)
        alphas, times = [], []
        for number in range(9):
            picture.seek(number)
            picture.load()
            alphas.append(np.asarray(picture)[..., 3])
            times.append(picture.info["duration"])
    assert np.array_equal(np.stack(alphas), images[:, 3].numpy())
    assert sum(times) == 375
    assert set(times) == {41, 42}


@needs_video
@pytest.mark.parametrize(("channels", "height", "width"), [(3, 33, 47), (1, 16, 24), (4, 32, 33)])
def test_mp4_of_any_size(tmp_path, channels, height, width):
    ramp = torch.linspace(0, 180, height)[:, None] + torch.linspace(0, 40, width)
    film, images = Mp4(30, (height, width)), []
    for n in range(25):
        images.append((ramp + n).to(torch.uint8).expand(channels, -1, -1).clone())
        film.add(images[-1])
    (tmp_path / "film.mp4").write_bytes(film.content())
    rate, frames = video_of(tmp_path / "film.mp4")
    assert (len(frames), rate) == (25, 30)
    for frame, image in zip(frames, images, strict=True):
        assert frame.shape == (height + height % 2, width + width % 2, 3)
        expected = even(opaque(image).expand(3, -1, -1)).permute(1, 2, 0).numpy()
        assert np.abs(frame - expected).mean() < 3


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Folders of small generators, by network and number of classes."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("generators")
    for name in ("sngan", "stylegan2"):
        for classes in (0, 3):
            tiny(name, classes, (32, 48)).save(folder / f"{name}-{classes}")
    return folder


def test_walk_command_writes_a_film_that_plays_for_ever(saved, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)  # as where it is not installed
    words = ["generate", str(saved / "sngan-0"), "--seeds", "1-3", "--walk", "4", "--fps", "10"]
    assert main([*words, "--outdir", str(tmp_path / "out")]) == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["walk.gif"]
    told = capsys.readouterr().out.strip()
    assert told == f'15 frames in {tmp_path / "out" / "walk.gif"}; for an MP4 too: pip install "rggan[video]".'
    with Image.open(tmp_path / "out" / "walk.gif") as film:
        assert (film.n_frames, film.size, film.info["loop"], film.info["duration"]) == (15, (48, 32), 0, 100)
    generator = Generator.from_pretrained(saved / "sngan-0")
    for frame, image in zip(frames_of(tmp_path / "out" / "walk.gif"), walk(generator, [1, 2, 3], 4), strict=True):
        assert np.abs(frame - image.permute(1, 2, 0).numpy()).mean() < 8  # 256 colours


@needs_video
def test_walk_command_writes_mp4_too(saved, tmp_path, capsys):
    words = ["generate", str(saved / "stylegan2-3"), "--seeds", "1,2", "--walk", "9", "--class", "c2", "--trunc", "0.7"]
    assert main([*words, "--outdir", str(tmp_path)]) == 0
    names = ["walk-c2-trunc0.7.gif", "walk-c2-trunc0.7.mp4"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert "pip install" not in capsys.readouterr().out
    rate, frames = video_of(tmp_path / names[1])
    assert (len(frames), rate, frames[0].shape) == (20, 24, (32, 48, 3))
    assert len(frames_of(tmp_path / names[0])) == 20
    before = (tmp_path / names[0]).read_bytes()
    assert main([*words, "--outdir", str(tmp_path), "--overwrite"]) == 0
    assert (tmp_path / names[0]).read_bytes() == before  # x264 does not promise as much of the MP4


def test_mixing_command(saved, tmp_path):
    run = saved / "stylegan2-3"
    words = ["generate", str(run), "--seeds", "5-7", "--mix", "0,9", "--mix-from", "3", "--class", "c1"]
    assert main([*words, "--trunc", "0.6", "--outdir", str(tmp_path)]) == 0
    expected = grid(mixing(Generator.from_pretrained(run), [0, 9], [5, 6, 7], 3, "c1", 0.6), columns=4)
    assert [path.name for path in tmp_path.iterdir()] == ["mixing-c1-trunc0.6.png"]
    with Image.open(tmp_path / "mixing-c1-trunc0.6.png") as sheet:
        assert np.array_equal(np.asarray(sheet), np.asarray(expected))


@pytest.mark.parametrize("name", ["sngan", "stylegan2"])
def test_grid_by_class(saved, tmp_path, name):
    run = saved / f"{name}-3"
    words = ["generate", str(run), "--seeds", "5-9", "--grid", "--per-class", "--trunc", "0.6"]
    assert main([*words, "--outdir", str(tmp_path)]) == 0
    with Image.open(tmp_path / "grid-per_class-trunc0.6.png") as picture:
        whole = np.asarray(picture)
    sheet = whole[:, -(5 * 50 + 2) :]  # not as square as can be, and beside it the names
    assert sheet.shape == (3 * 34 + 2, 5 * 50 + 2, 3)
    names = whole[:, : -(5 * 50 + 2)]
    rows = [names[1 + 34 * i : 35 + 34 * i] for i in range(3)]
    assert all((row < 100).any() and (row == 255).any() for row in rows)
    assert not any((a == b).all() for a, b in zip(rows, rows[1:] + rows[:1], strict=True))
    generator = Generator.from_pretrained(run)
    for i in range(3):
        for j, seed in enumerate(range(5, 10)):
            cell = sheet[2 + 34 * i : 34 + 34 * i, 2 + 50 * j : 50 + 50 * j]
            expected = generator.images([seed], f"c{i}", 0.6)[0].permute(1, 2, 0).numpy()
            assert np.abs(cell.astype(int) - expected).max() <= 1


def test_grid_by_class_has_its_rows_in_order_where_names_are_numbers(tmp_path):
    generator = tiny("sngan", 3, (32, 48))
    sheets = []
    for names in (["c1", "c2", "c3"], ["1", "2", "3"]):
        generator.config["classes"] = names
        generator.save(tmp_path / names[0])
        words = ["generate", str(tmp_path / names[0]), "--seeds", "5-6", "--grid", "--per-class"]
        assert main([*words, "--outdir", str(tmp_path / names[0])]) == 0
        with Image.open(tmp_path / names[0] / "grid-per_class.png") as picture:
            sheets.append(np.asarray(picture)[:, -(2 * 50 + 2) :])
    assert np.array_equal(*sheets)
    assert not np.array_equal(sheets[0][2:34], sheets[0][36:68])


def test_truncated_pictures_by_command(saved, tmp_path):
    for run, truncation in (("sngan-0", "0.5"), ("stylegan2-0", "0")):
        words = ["generate", str(saved / run), "--seeds", "3", "--trunc", truncation]
        assert main([*words, "--outdir", str(tmp_path / run)]) == 0
        with Image.open(tmp_path / run / f"seed0003-trunc{truncation}.png") as picture:
            expected = Generator.from_pretrained(saved / run).images([3], truncation=float(truncation))[0]
            assert np.array_equal(np.asarray(picture), expected.permute(1, 2, 0).numpy())


@pytest.mark.parametrize(
    ("run", "words", "told"),
    [
        ("stylegan2-0", "--walk 3 --mix 1", "--walk and --mix make different pictures"),
        ("sngan-0", "--walk 3 --grid", "--walk and --grid make different pictures"),
        ("sngan-3", "--walk 3 --per-class", "--walk and --per-class make different pictures"),
        ("stylegan2-3", "--mix 1 --grid", "--mix and --grid make different pictures"),
        ("stylegan2-3", "--walk 3 --mix 1 --grid --per-class", "--walk and --mix and --grid and --per-class make"),
        ("sngan-3", "--per-class", "--per-class is a way to lay out --grid"),
        ("sngan-3", "--grid --per-class --class c1", "--per-class shows every class, --class one"),
        ("sngan-0", "--grid --per-class", "without classes (--cond): leave --per-class out"),
        ("stylegan2-0", "--mix-from 3", "--mix-from belongs to --mix"),
        ("stylegan2-0", "--mix 1-x", "--mix takes numbers and ranges"),
        ("stylegan2-0", "--mix 1 --mix-from 8", "choose a layer from 1 to 7"),
        ("sngan-0", "--mix 1", "Styles (--mix) are StyleGAN2's"),
        ("sngan-0", "--walk 0", "has 1 to 1,000,000 pictures between two seeds, not 0"),
        ("sngan-0", "--walk 3 --seeds 5", "at least two --seeds"),
        ("sngan-0", "--walk 3 --fps 0", "--fps is 1 to 60 frames a second, not 0"),
        ("sngan-0", "--walk 3 --fps 61", "--fps is 1 to 60 frames a second, not 61"),
        ("sngan-0", "--fps 12", "--fps belongs to --walk"),
        ("sngan-0", "--walk 3 --class c1", "without classes"),
        ("sngan-3", "--walk 3 --class bird", "no class bird"),
        ("sngan-0", "--trunc 0", "is a number above 0, up to 1, not 0.0"),
        ("stylegan2-0", "--trunc -0.1", "is a number from 0 to 1, not -0.1"),
        ("stylegan2-0", "--walk 3 --trunc nan", "--trunc cannot be nan"),
        ("stylegan2-0", "--mix 1 --trunc 1.5", "is a number from 0 to 1, not 1.5"),
        ("sngan-3", "--grid --per-class --trunc 2", "--trunc is a number from 0 to 1, not 2.0"),
    ],
)
def test_bad_input_is_refused_in_one_sentence_before_anything_is_written(saved, tmp_path, capsys, run, words, told):
    assert main(["generate", str(saved / run), *words.split(), "--outdir", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("words", ["--walk 3", "--mix 1", "--grid"])
def test_a_full_disk_leaves_nothing_half_written(saved, tmp_path, capsys, monkeypatch, words):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    run = saved / "stylegan2-0"
    assert main(["generate", str(run), *words.split(), "--seeds", "1,2", "--outdir", str(tmp_path / "out")]) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert list((tmp_path / "out").iterdir()) == []


def test_a_folder_that_cannot_be_made_is_told_before_the_walk(saved, tmp_path, capsys, monkeypatch):
    def no_frame(self, points, labels):
        raise AssertionError("walked before it was known where to")

    monkeypatch.setattr(Generator, "drawn", no_frame)
    (tmp_path / "file").write_text("in the way")
    words = ["generate", str(saved / "sngan-0"), "--seeds", "0-9", "--walk", "5"]
    assert main([*words, "--outdir", str(tmp_path / "file" / "out")]) == 2
    assert "Cannot write to the folder" in capsys.readouterr().err
