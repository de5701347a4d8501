// Runs the generator: on the GPU by WebGPU where that draws the right picture, else on the CPU by WebAssembly.
// Everything comes from scripts beside the page, so it works from a disk too, where pages may fetch nothing.
"use strict";

const RUNTIMES = {}, MODELS = {};  // filled by runtime-*.js and model-*.js: base64

const Engine = (() => {
  const {size, classes, channels, height, width, styled, parts} = GENERATOR;
  const pixels = height * width;
  let ort, sessions, queue = Promise.resolve();

  const load = (source) => new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = source;
    script.onload = resolve;
    script.onerror = () => reject(new Error(`${source} is missing`));
    document.head.append(script);
  });

  function bytes(text) {
    if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
    const letters = atob(text), found = new Uint8Array(letters.length);
    for (let i = 0; i < letters.length; i++) found[i] = letters.charCodeAt(i);
    return found;
  }

  async function open(kind) {
    await load(`runtime-${kind}.js`);
    const {module, binary} = RUNTIMES[kind];
    const address = URL.createObjectURL(new Blob([bytes(module)], {type: "text/javascript"}));
    ort = await import(address);
    URL.revokeObjectURL(address);
    ort.env.wasm.wasmBinary = bytes(binary).buffer;
    ort.env.wasm.numThreads = 1;  // more need headers that a plain folder cannot set
    delete RUNTIMES[kind];
    sessions = {};
    for (const part of parts) {
      sessions[part] = await ort.InferenceSession.create(bytes(MODELS[part]), {executionProviders: [kind]});
    }
  }

  // The largest difference of the picture of a seed from the one that Python drew, in grey levels.
  async function difference() {
    const [found] = await draw(await points([GENERATOR.check.seed], 1, null));
    const expected = bytes(GENERATOR.check.pixels);
    let largest = 0;
    for (let i = 0; i < expected.length; i++) largest = Math.max(largest, Math.abs(expected[i] - found[i]));
    return largest;
  }

  // What draws: {kind, difference}. only: "webgpu" or "wasm", for trying one of them.
  async function start(only, tell) {
    for (const part of parts) await load(`model-${part}.js`);
    const kinds = only ? [only] : navigator.gpu && await navigator.gpu.requestAdapter().catch(() => null)
      ? ["webgpu", "wasm"] : ["wasm"];
    let why;
    for (const kind of kinds) {
      tell(kind);
      try {
        await open(kind);
        const apart = await difference();
        if (apart <= 2) return {kind, difference: apart};
        why = new Error(`${kind} draws a picture that differs from Python's by ${apart} grey levels`);
      } catch (error) { why = error; }
      console.warn(kind, why);
    }
    throw why;
  }

  // One after another: a session takes one run at a time.
  function inTurn(task) {
    const mine = queue.then(task);
    queue = mine.catch(() => null);
    return mine;
  }

  const tensor = (type, data, dims) => new ort.Tensor(type, data, dims);

  function joined(rows) {
    const found = new Float32Array(rows.length * rows[0].length);
    rows.forEach((row, i) => found.set(row, i * row.length));
    return found;
  }

  const labelled = (items) => classes.length
    ? {labels: tensor("int64", BigInt64Array.from(items, (item) => BigInt(item.label)), [items.length])} : {};

  // Where seeds lie: [{point, label}]; a point is a latent, or the styles of one.
  async function points(seeds, truncation, label) {
    const counts = classes.length ? GENERATOR.counts : null;
    const limit = styled || truncation === 1 ? null : 2 * truncation;
    const items = seeds.map((seed) => Sampling.ofSeed(seed, size, counts, label, limit));
    if (!styled) return items.map(({z, label}) => ({point: z, label}));
    return styles(items.map((item) => item.z), items, truncation);
  }

  async function styles(latents, items, truncation) {
    const feeds = {z: tensor("float32", joined(latents), [latents.length, size]), ...labelled(items),
      truncation: tensor("float32", Float32Array.of(truncation), [])};
    const {styles: found} = await inTurn(() => sessions.styles.run(feeds));
    const data = await found.getData(), each = data.length / items.length;
    return items.map((item, i) => ({point: data.slice(i * each, (i + 1) * each), label: item.label}));
  }

  // Pictures of points: Uint8Array [C, H, W] each, as Python makes them.
  async function draw(items) {
    const data = joined(items.map((item) => item.point)), each = data.length / items.length;
    const feeds = styled ? {styles: tensor("float32", data, [items.length, GENERATOR.styles, each / GENERATOR.styles])}
      : {z: tensor("float32", data, [items.length, size]), ...labelled(items)};
    const {images} = await inTurn(() => sessions.images.run(feeds));
    const values = await images.getData(), long = channels * pixels;
    return items.map((_, i) => Uint8Array.from(values.subarray(i * long, (i + 1) * long),
      (value) => Math.min(255, Math.max(0, 127.5 * value + 128))));
  }

  // A picture of `draw` as ImageData.
  function shown(picture) {
    const found = new ImageData(width, height);
    for (let i = 0; i < pixels; i++) {
      for (let c = 0; c < 3; c++) found.data[4 * i + c] = picture[channels < 3 ? i : c * pixels + i];
      found.data[4 * i + 3] = channels === 4 ? picture[3 * pixels + i] : 255;
    }
    return found;
  }

  // The point on the way between two, as `rggan generate --walk` takes it.
  const between = (a, b, share) => (styled ? Sampling.lerp : Sampling.slerp)(a, b, share);

  // What a seed's point adds to another in its direction.
  async function direction(seed, truncation, label) {
    const [{point}] = await points([seed], truncation, label);
    if (!styled) return point;
    const [{point: centre}] = await points([seed], 0, label);
    return point.map((value, i) => value - centre[i]);
  }

  // A point moved along directions by these shares; latents keep their length, which those of training have.
  function moved(point, directions, shares) {
    const found = point.map((value, i) => directions.reduce((sum, way, k) => sum + way[i] * shares[k], value));
    if (styled) return found;
    const length = (vector) => Math.sqrt(vector.reduce((sum, value) => sum + value * value, 0));
    const scale = length(point) / (length(found) || 1);
    return found.map((value) => value * scale);
  }

  return {start, points, draw, shown, between, direction, moved};
})();
