"""The page in headless Chromium, opened from the disk: it draws Python's pictures, from a phone's width on."""

import base64
import io
import json
import shutil
import subprocess
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest
import torch
from PIL import Image

from rggan.cli.main import main
from rggan.errors import UserError
from rggan.export.runtime import fetched
from rggan.generation.sampler import Sampler
from rggan.generation.walks import walk
from tests.export.networks import small
from tests.export.test_onnx import needs_onnx

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    needs_onnx,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium, chromium-browser or google-chrome on PATH"),
]
# What is drawn where: seeds of many sizes, latents of all ways in which PyTorch draws them, with and without classes.
CASES = [
    (seed, size, counts, limit)
    for seed in (0, 7, 2**31 + 5, 2**40 + 3)
    for size in (5, 16, 20, 128)
    for counts in (None, [3, 0, 5])
    for limit in (None, 2.0, 0.2)
]
PROBE = """
window.faults = [];
addEventListener("error", (event) => faults.push(event.message));
addEventListener("unhandledrejection", (event) => faults.push(String(event.reason)));
addEventListener("securitypolicyviolation", (event) => faults.push(event.violatedDirective));
const until = async (condition) => { while (!condition()) await new Promise((go) => setTimeout(go, 20)); };
const root = document.documentElement;
addEventListener("load", async () => {
  const found = {};
  try {
    await until(() => root.dataset.runtime);
    found.runtime = root.dataset.runtime;
    found.difference = root.dataset.difference;
    if (found.runtime === "none") throw new Error(byId("message").textContent);
    const count = () => Number(root.dataset.drawn || 0);
    await until(() => count() > 0);
    const act = async (doing) => { const before = count(); doing(); await until(() => count() > before && !busy); };
    const set = (id, value) => act(() => {
      byId(id).value = value;
      byId(id).dispatchEvent(new Event("input", {bubbles: true}));
    });
    const base64 = (bytes) => btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
    const pixels = () => [canvas.width, canvas.height,
      base64(context.getImageData(0, 0, canvas.width, canvas.height).data)];
    const tab = (name) => act(() => document.querySelector(`[data-view=${name}]`).click());
    const overflow = () => root.scrollWidth - innerWidth;
    found.width = innerWidth;
    found.overflow = [overflow()];
    await set("seed", 5);
    found.picture = pixels();
    found.caption = byId("caption").textContent;
    await set("trunc", 0.5);
    found.truncated = pixels();
    await set("trunc", 1);
    if (classes.length) { await set("class", 2); found.labelled = pixels(); }
    // A picture is saved as it is shown.
    const make = URL.createObjectURL;
    let blob = null;
    URL.createObjectURL = (made) => { blob = made; return make(made); };
    HTMLAnchorElement.prototype.click = function () { found.file = this.download; };
    byId("save").click();
    await until(() => found.file);
    found.png = base64(new Uint8Array(await blob.arrayBuffer()));
    if (classes.length) await set("class", "");
    await act(() => byId("later").click());
    found.later = byId("seed").value;
    await set("seed", 5);
    await tab("grid");
    await set("side", 3);
    found.grid = pixels();
    found.overflow.push(overflow());
    await tab("walk");
    await set("to", 9);
    await set("share", 25);
    found.walk = pixels();
    found.overflow.push(overflow());
    await tab("explore");
    found.centre = pixels();
    await act(() => byId("pad").dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowRight"})));
    await act(() => byId("pad").dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowUp"})));
    found.moved = pixels();
    found.place = byId("caption").textContent;
    found.address = location.hash;
    found.overflow.push(overflow());
    await act(() => byId("centre").click());
    found.back = pixels();
    await tab("grid");
    const box = canvas.getBoundingClientRect();
    const at = {clientX: box.left + box.width * 0.5, clientY: box.top + box.height * 0.9};
    await act(() => canvas.dispatchEvent(new MouseEvent("click", at)));
    found.clicked = [byId("seed").value, state.view];
    found.drawn = CASES.map(([seed, size, counts, limit]) => {
      const {z, label} = Sampling.ofSeed(seed, size, counts, null, limit);
      return [[...z], label];
    });
    const asked = performance.getEntriesByType("resource").map((each) => each.name);
    const here = location.href.replace(/[^/]*$/, "");
    found.requests = asked.filter((name) => !/^(data|blob):/.test(name) && !name.startsWith(here));
  } catch (error) { faults.push(String(error)); }
  found.faults = faults;
  parent.postMessage(JSON.stringify(found), "*");
});
"""
FRAME = """<body>
<script>
const post = (body) => fetch("{back}", {{method: "POST", mode: "no-cors", body}});
addEventListener("message", (event) => post(event.data));
</script>
<iframe src="page/index.html?runtime={runtime}" style="border: 0; width: {width}px; height: 900px"></iframe></body>"""


class Answer(BaseHTTPRequestHandler):
    """Keeps what is posted."""

    def do_POST(self):
        self.server.told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *words):
        pass


FLAGS = {
    "wasm": ["--disable-gpu"],
    # A software adapter, which a Chromium may lack.
    "webgpu": ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan"],
}


def visited(folder, width, runtime):
    """What the probe tells of folder/page, in a frame, because no window is narrower than 500 pixels.

    It is posted back: Chromium's virtual time, which other tests end by, does not wait for WebAssembly.
    """
    page = folder / "page" / "index.html"
    page.write_text(page.read_text().replace("<title>", '<script src="probe.js"></script><title>', 1))
    (folder / "page" / "probe.js").write_text(f"const CASES = {json.dumps(CASES)};\n{PROBE}")
    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        server.told, server.timeout = None, 120
        back = f"http://127.0.0.1:{server.server_port}/"
        (folder / "around.html").write_text(FRAME.format(width=width, back=back, runtime=runtime))
        words = [CHROMIUM, "--headless", "--no-sandbox", *FLAGS[runtime], "--window-size=1400,1000"]
        words += ["--hide-scrollbars", f"--user-data-dir={folder / 'profile'}", "--remote-debugging-port=0"]
        address = (folder / "around.html").as_uri()
        browser = subprocess.Popen([*words, address], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        try:
            server.handle_request()
        finally:
            browser.terminate()
            browser.wait(30)
    assert server.told is not None, "the page told nothing in two minutes"
    if runtime == "webgpu" and "adapter" in "".join(server.told["faults"]):
        pytest.skip("this Chromium has no adapter for WebGPU")
    assert server.told["faults"] == []
    return server.told


def pixels(found, channels):
    """uint8 [C, H, W] of what a canvas shows."""
    width, height, data = found
    values = torch.from_numpy(np.frombuffer(base64.b64decode(data), np.uint8).reshape(height, width, 4).copy())
    return values.permute(2, 0, 1)[[0] if channels == 1 else range(channels)]


def close(found, expected):
    """To a grey level. A canvas keeps colours times their opacity, in whole numbers: two levels there."""
    shown, expected = pixels(found, len(expected)).float(), expected.float()
    assert shown.shape == expected.shape
    if len(expected) == 4:
        assert (shown[3] - expected[3]).abs().max() <= 1
        shown, expected = (each[:3] * each[3] / 255 for each in (shown, expected))
        assert (shown - expected).abs().max() <= 2
    else:
        assert (shown - expected).abs().max() <= 1


def check_latents(found):
    for (seed, size, counts, limit), (z, label) in zip(CASES, found, strict=True):
        expected, labels = Sampler(size, torch.device("cpu"), counts=counts).of_seeds([seed], None, limit)
        assert (torch.tensor(z) - expected[0]).abs().max() < 1e-5, (seed, size, counts, limit)
        assert label == (None if labels is None else int(labels[0]))


@pytest.mark.parametrize(
    ("name", "width", "runtime", "options"),
    [
        ("sngan", 1280, "wasm", {"side": (16, 24), "channels": 1}),
        ("stylegan2", 375, "wasm", {"classes": 0, "channels": 4}),
        ("fastgan", 800, "webgpu", {}),
    ],
)
def test_the_page_draws_what_python_draws(name, width, runtime, options, tmp_path):
    try:
        archive = fetched()
    except UserError as error:
        pytest.skip(str(error))
    generator = small(name, **options)
    if generator.classes:
        generator.config["class_counts"] = [3, 1, 5]
    generator.save(tmp_path / "run")
    assert main(["export", str(tmp_path / "run"), "--web", str(tmp_path / "page"), "--runtime", str(archive)]) == 0
    found = visited(tmp_path, width, runtime)
    assert found["runtime"] == runtime
    assert int(found["difference"]) <= 1
    assert found["requests"] == []
    assert (found["width"], found["overflow"]) == (width, [0] * 4)

    close(found["picture"], generator.images([5])[0])
    close(found["truncated"], generator.images([5], truncation=0.5)[0])
    last = found["picture"]
    if generator.classes:
        close(found["labelled"], generator.images([5], label=2)[0])
        last = found["labelled"]
    assert found["file"] == ("seed0005-class_2.png" if generator.classes else "seed0005.png")
    saved = Image.open(io.BytesIO(base64.b64decode(found["png"]))).convert("RGBA")
    assert np.array_equal(np.asarray(saved).transpose(2, 0, 1), pixels(last, 4).numpy())
    images = generator.images(range(5, 14))
    rows = torch.cat([torch.cat(list(images[start : start + 3]), dim=2) for start in (0, 3, 6)], dim=1)
    close(found["grid"], rows)
    close(found["walk"], list(walk(generator, [5, 9], between=3))[1])
    assert found["centre"] == found["back"] == found["picture"]
    assert found["moved"] != found["picture"]
    assert found["place"].endswith("0.05 right, 0.05 up")
    assert "view=explore" in found["address"]
    assert (found["later"], found["clicked"]) == ("6", ["12", "picture"])
    check_latents(found["drawn"])
