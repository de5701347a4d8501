// What is on the page: the four views, and the controls that they share.
"use strict";

const byId = (id) => document.getElementById(id);
const {classes, channels, height, width, styled} = GENERATOR;
const MOST = 2 ** 53 - 1;  // beyond it JavaScript's numbers have gaps
const AT_ONCE = Math.max(1, Math.min(8, Math.floor(8 * 128 * 128 / (height * width))));  // drawn together in a grid
const canvas = byId("canvas"), context = canvas.getContext("2d", {willReadFrequently: true});
const state = {view: "picture", x: 0, y: 0, ways: [1001, 1002], playing: false};

const seed = (id = "seed") => Math.min(MOST, Math.max(0, Math.floor(Number(byId(id).value) || 0)));
const truncation = () => Number(byId("trunc").value);
const label = () => classes.length && byId("class").value !== "" ? Number(byId("class").value) : null;
const random = () => Math.floor(Math.random() * 1e6);
const named = (number) => number === null ? "" : `, ${classes[number]}`;

function size(columns, rows) {
  if (canvas.width !== columns * width || canvas.height !== rows * height) {
    canvas.width = columns * width;
    canvas.height = rows * height;
    canvas.style.setProperty("--ratio", canvas.width / canvas.height);
  }
}

// One drawing at a time; of those that are asked for meanwhile only the last one is done.
let busy = false, again = false;
async function redraw() {
  if (busy) { again = true; return; }
  busy = true;
  do {
    again = false;
    try {
      await VIEWS[state.view]();
    } catch (error) {
      wrong(error);
    }
  } while (again);
  busy = false;
  document.documentElement.dataset.drawn = Number(document.documentElement.dataset.drawn || 0) + 1;
}

async function single(item, caption) {
  const from = performance.now();
  const [picture] = await Engine.draw([item]);
  if (again && !state.playing) return;
  size(1, 1);
  context.putImageData(Engine.shown(picture), 0, 0);
  byId("caption").textContent = caption;
  timed(performance.now() - from, 1);
}

const VIEWS = {
  async picture() {
    const [item] = await Engine.points([seed()], truncation(), label());
    await single(item, `seed ${seed()}${named(item.label)}`);
  },

  async grid() {
    const side = Number(byId("side").value), first = seed(), count = side * side, from = performance.now();
    const seeds = Array.from({length: count}, (_, i) => first + i);
    size(side, side);
    for (let start = 0; start < count; start += AT_ONCE) {
      const items = await Engine.points(seeds.slice(start, start + AT_ONCE), truncation(), label());
      const pictures = await Engine.draw(items);
      if (again) return;
      pictures.forEach((picture, i) => {
        const place = start + i;
        context.putImageData(Engine.shown(picture), place % side * width, Math.floor(place / side) * height);
      });
      await new Promise((resolve) => setTimeout(resolve));  // the page stays alive
    }
    byId("caption").textContent = `seeds ${first} to ${first + count - 1}`;
    timed(performance.now() - from, count);
  },

  async walk() {
    const share = Number(byId("share").value) / 100;
    const [start] = await Engine.points([seed()], truncation(), label());
    const [end] = await Engine.points([seed("to")], truncation(), start.label);
    const point = share === 0 ? start.point : share === 1 ? end.point : Engine.between(start.point, end.point, share);
    const caption = `${Math.round(share * 100)} % of the way from seed ${seed()} to ${seed("to")}${named(start.label)}`;
    await single({point, label: start.label}, caption);
  },

  async explore() {
    const [start] = await Engine.points([seed()], truncation(), label());
    const ways = [];
    for (const way of state.ways) ways.push(await Engine.direction(way, truncation(), start.label));
    const point = state.x || state.y ? Engine.moved(start.point, ways, [state.x, state.y]) : start.point;
    const caption = `seed ${seed()}${named(start.label)}, ${state.x.toFixed(2)} right, ${state.y.toFixed(2)} up`;
    await single({point, label: start.label}, caption);
  },
};

function timed(milliseconds, count) {
  byId("status").textContent = `${state.runs}. ${(milliseconds / count).toFixed(0)} ms a picture.`;
}

function wrong(error) {
  byId("message").hidden = false;
  byId("message").classList.add("wrong");
  byId("message").textContent = `Cannot draw: ${error.message || error}`;
}

function show(view) {
  state.view = view;
  stop();
  document.querySelectorAll("[data-view]").forEach((tab) => {
    tab.setAttribute("aria-selected", tab.dataset.view === view);
    tab.tabIndex = tab.dataset.view === view ? 0 : -1;
  });
  document.querySelectorAll("[data-only]").forEach((part) => { part.hidden = part.dataset.only !== view; });
  canvas.classList.toggle("grid", view === "grid");
  canvas.classList.toggle("explore", view === "explore");
  changed();
}

// The place of everything, so that the address of a picture can be kept and sent.
function changed() {
  byId("trunc-now").textContent = truncation().toFixed(2);
  byId("share-now").textContent = `${byId("share").value} %`;
  byId("ways").textContent = state.ways.join(" and ");
  byId("knob").style.left = `${50 + 50 * state.x}%`;
  byId("knob").style.top = `${50 - 50 * state.y}%`;
  const told = new URLSearchParams({view: state.view, seed: seed(), trunc: truncation()});
  if (label() !== null) told.set("class", label());
  if (state.view === "walk") { told.set("to", seed("to")); told.set("share", byId("share").value); }
  if (state.view === "grid") told.set("side", byId("side").value);
  if (state.view === "explore") {
    told.set("x", state.x.toFixed(2)); told.set("y", state.y.toFixed(2)); told.set("ways", state.ways.join("-"));
  }
  if (!state.playing) history.replaceState(null, "", `#${told}`);
  redraw();
}

function fromAddress() {
  const told = new URLSearchParams(location.hash.slice(1));
  for (const name of ["seed", "trunc", "class", "to", "share", "side"]) {
    if (told.has(name) && byId(name)) byId(name).value = told.get(name);
  }
  const within = (name) => Math.min(1, Math.max(-1, Number(told.get(name)) || 0));
  [state.x, state.y] = [within("x"), within("y")];
  const ways = (told.get("ways") || "").split("-").map(Number);
  if (ways.length === 2 && ways.every((way) => way >= 0 && way <= MOST)) state.ways = ways;
  show(Object.hasOwn(VIEWS, told.get("view")) ? told.get("view") : "picture");
}

function stop() {
  state.playing = false;
  byId("play").textContent = "Play";
  byId("play").setAttribute("aria-pressed", "false");
}

// To the other seed and back, a hundredth of the way at a time, at most 30 pictures a second.
async function play() {
  state.playing = true;
  byId("play").textContent = "Stop";
  byId("play").setAttribute("aria-pressed", "true");
  let step = 1;
  while (state.playing) {
    const share = Number(byId("share").value);
    if (share >= 100) step = -1;
    if (share <= 0) step = 1;
    byId("share").value = share + step;
    byId("share-now").textContent = `${share + step} %`;
    const from = performance.now();
    await redraw();
    await new Promise((resolve) => setTimeout(resolve, Math.max(4, 33 - (performance.now() - from))));
  }
  changed();
}

function fileName() {
  const parts = [state.view === "grid" ? `grid${seed()}` : `seed${String(seed()).padStart(4, "0")}`];
  if (state.view === "walk") parts.push(`to${seed("to")}-${byId("share").value}`);
  if (state.view === "explore") parts.push(`${state.x.toFixed(2)}_${state.y.toFixed(2)}`);
  if (label() !== null) parts.push(classes[label()].replace(/[^\p{L}\p{N}.+-]+/gu, "_"));
  if (truncation() !== 1) parts.push(`trunc${truncation()}`);
  return `${parts.join("-")}.png`;
}

function save() {
  canvas.toBlob((blob) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = fileName();
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
}

function point(event) {
  const box = byId("pad").getBoundingClientRect(), within = (value) => Math.min(1, Math.max(-1, value));
  state.x = within(2 * (event.clientX - box.left) / box.width - 1);
  state.y = within(1 - 2 * (event.clientY - box.top) / box.height);
  changed();
}

function listen() {
  const on = (id, kind, act) => byId(id).addEventListener(kind, act);
  for (const id of ["seed", "trunc", "class", "to", "side"]) on(id, "input", changed);
  on("share", "input", () => { stop(); changed(); });
  on("seed", "change", () => { byId("seed").value = seed(); changed(); });
  on("to", "change", () => { byId("to").value = seed("to"); changed(); });
  const set = (id, value) => { byId(id).value = Math.min(MOST, Math.max(0, value)); changed(); };
  on("earlier", "click", () => set("seed", seed() - 1));
  on("later", "click", () => set("seed", seed() + 1));
  on("random", "click", () => set("seed", random()));
  on("to-random", "click", () => set("to", random()));
  on("play", "click", () => state.playing ? stop() : play());
  on("save", "click", save);
  on("controls", "submit", (event) => event.preventDefault());
  on("directions", "click", () => { state.ways = [random(), random()]; changed(); });
  on("centre", "click", () => { [state.x, state.y] = [0, 0]; changed(); });
  on("pad", "pointerdown", (event) => { byId("pad").setPointerCapture(event.pointerId); point(event); });
  on("pad", "pointermove", (event) => { if (event.buttons) point(event); });
  on("pad", "keydown", (event) => {
    const steps = {ArrowLeft: [-0.05, 0], ArrowRight: [0.05, 0], ArrowUp: [0, 0.05], ArrowDown: [0, -0.05]};
    if (event.key === "Home") [state.x, state.y] = [0, 0];
    else if (steps[event.key]) {
      const within = (value) => Math.min(1, Math.max(-1, Math.round(value * 100) / 100));
      state.x = within(state.x + steps[event.key][0]);
      state.y = within(state.y + steps[event.key][1]);
    } else return;
    event.preventDefault();
    changed();
  });
  canvas.addEventListener("click", (event) => {
    if (state.view !== "grid") return;
    const box = canvas.getBoundingClientRect(), side = Number(byId("side").value);
    const column = Math.min(side - 1, Math.floor((event.clientX - box.left) / box.width * side));
    const row = Math.min(side - 1, Math.floor((event.clientY - box.top) / box.height * side));
    byId("seed").value = seed() + row * side + column;
    show("picture");
  });
  const tabs = [...document.querySelectorAll("[data-view]")];
  tabs.forEach((tab, i) => {
    tab.addEventListener("click", () => show(tab.dataset.view));
    tab.addEventListener("keydown", (event) => {
      const step = {ArrowRight: 1, ArrowLeft: -1}[event.key];
      if (!step) return;
      const next = tabs[(i + step + tabs.length) % tabs.length];
      show(next.dataset.view);
      next.focus();
    });
  });
}

async function begin() {
  document.title = byId("name").textContent = GENERATOR.name;
  byId("about").textContent = GENERATOR.about;
  canvas.classList.toggle("crisp", Math.min(height, width) < 128);
  canvas.classList.toggle("clear", channels === 4);
  byId("trunc").min = styled ? 0 : 0.05;
  byId("class-field").hidden = !classes.length;
  const drawn = new Option("as the seed draws it", "");
  byId("class").append(drawn, ...classes.map((name, number) => new Option(name, number)));
  const words = {webgpu: "the GPU (WebGPU)", wasm: "the CPU (WebAssembly)"};
  const only = new URLSearchParams(location.search).get("runtime");
  try {
    const tell = (kind) => { byId("message").textContent = `Starting on ${words[kind]} …`; };
    const {kind, difference} = await Engine.start(Object.hasOwn(words, only || "") ? only : null, tell);
    const same = difference === 0 ? "the same as Python's" : `within ${difference} of 255 grey levels of Python's`;
    state.runs = `Runs on ${words[kind]}; the picture of seed ${GENERATOR.check.seed} is ${same}`;
    document.documentElement.dataset.runtime = kind;
    document.documentElement.dataset.difference = difference;
  } catch (error) {
    wrong(error);
    document.documentElement.dataset.runtime = "none";
    return;
  }
  byId("message").hidden = true;
  byId("main").hidden = false;
  listen();
  fromAddress();
}

begin();
