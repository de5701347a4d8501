"use strict";
(() => {
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const read = (element, name) => JSON.parse(element.dataset[name]);
  const number = (value) => value === null || value === undefined ? "" :
    Math.abs(value) >= 1000 ? Math.round(value).toLocaleString("en") : String(Number(value.toPrecision(4)));
  // The last index whose kimg is not above this one; the first if all are.
  const before = (kimgs, kimg) => {
    let found = 0;
    kimgs.forEach((each, index) => { if (each <= kimg) found = index; });
    return found;
  };
  document.documentElement.classList.add("js");

  const viewers = all(".viewer").map((element) => {
    const frames = all(".frame", element);
    return {element, frames, kimgs: frames.map((frame) => Number(frame.dataset.kimg)), at: frames.length - 1,
      layout: element.dataset.layout ? read(element, "layout") : null, labels: read(element, "labels"), chosen: 0};
  });
  const charts = all(".chart").map((element) => ({
    element, plot: element.querySelector(".plot"), cursor: element.querySelector(".cursor"),
    end: Number(element.dataset.end), series: read(element, "series"),
    outputs: all(".legend output", element),
  }));
  const maps = all(".layers").map((element) => ({
    plot: element.querySelector(".plot"), cursor: element.querySelector(".cursor"), kimgs: read(element, "kimg"),
    layers: all("[data-values]", element).map((each) => [each.querySelector("output"), read(each, "values")]),
  }));
  const slider = document.getElementById("kimg");
  const stops = slider ? read(slider, "stops") : [];

  const tell = (chart, kimg) => chart.series.forEach((series, index) => {
    chart.outputs[index].textContent = kimg < series.kimg[0] ? "" :
      number(series.values[before(series.kimg, kimg)]);
  });
  const point = (place, end, kimg) => {
    place.cursor.hidden = false;
    place.cursor.style.left = `${100 * Math.min(1, kimg / end)}%`;
  };
  const mark = (kimg) => {
    for (const chart of charts) { point(chart, chart.end, kimg); tell(chart, kimg); }
    for (const map of maps) {
      point(map, map.kimgs[map.kimgs.length - 1], kimg);
      for (const [output, values] of map.layers) {
        const value = values[before(map.kimgs, kimg)];
        output.textContent = value === null ? "" : `${Math.round(100 * value)} %`;
      }
    }
  };
  const show = (stop) => {
    const kimg = stops[stop];
    slider.value = stop;
    slider.setAttribute("aria-valuetext", `${number(kimg)} kimg`);
    document.getElementById("now").textContent = `${number(kimg)} kimg`;
    for (const viewer of viewers) {
      viewer.at = before(viewer.kimgs, kimg);
      viewer.frames.forEach((frame, index) => { frame.hidden = index !== viewer.at; });
      viewer.element.querySelector(".at").textContent = number(viewer.kimgs[viewer.at]);
    }
    mark(kimg);
    if (zoomed && dialog.open) draw();
  };

  // One sample, enlarged.
  const dialog = document.getElementById("zoom");
  const canvas = dialog.querySelector("canvas");
  let zoomed = null;
  const draw = () => {
    const {layout, frames, at, chosen, labels} = zoomed;
    const frame = frames[at], wide = frame.naturalWidth, high = frame.naturalHeight;
    const left = layout.left + chosen % layout.columns * (layout.left + layout.width);
    const top = layout.top + Math.floor(chosen / layout.columns) * (layout.top + layout.height);
    canvas.width = Math.round(layout.width * wide);
    canvas.height = Math.round(layout.height * high);
    const pen = canvas.getContext("2d");
    pen.imageSmoothingEnabled = false;
    pen.drawImage(frame, Math.round(left * wide), Math.round(top * high), canvas.width, canvas.height,
      0, 0, canvas.width, canvas.height);
    const label = labels[chosen] === undefined ? "" : `, class ${labels[chosen]}`;
    const told = `sample of seed ${chosen}${label}, at ${number(zoomed.kimgs[at])} kimg`;
    dialog.querySelector(".caption").textContent = told;
    canvas.setAttribute("aria-label", told);
  };
  const open = (viewer, sample) => {
    const count = viewer.layout.columns * viewer.layout.rows;
    viewer.chosen = (sample + count) % count;
    zoomed = viewer;
    draw();
    if (!dialog.open) { dialog.showModal(); canvas.focus(); }
  };
  const another = (by) => open(zoomed, zoomed.chosen + by);
  const then = (by) => {
    if (slider) show(Math.max(0, Math.min(stops.length - 1, Number(slider.value) + by)));
  };
  const keys = {ArrowLeft: () => another(-1), ArrowRight: () => another(1), ArrowUp: () => then(1), ArrowDown: () => then(-1)};
  dialog.addEventListener("keydown", (event) => {
    if (keys[event.key]) { event.preventDefault(); keys[event.key](); }
  });
  dialog.addEventListener("click", (event) => {
    const {by, then: later, close} = event.target.dataset;
    if (by) another(Number(by));
    else if (later) then(Number(later));
    else if (close !== undefined || event.target === dialog) dialog.close();
  });
  for (const viewer of viewers.filter((each) => each.layout)) {
    const sheet = viewer.element.querySelector(".sheet");
    sheet.tabIndex = 0;
    sheet.setAttribute("role", "button");
    sheet.setAttribute("aria-label", "Enlarge a sample");
    viewer.element.querySelector(".hint").hidden = false;
    sheet.addEventListener("click", (event) => {
      const box = sheet.getBoundingClientRect(), {layout} = viewer;
      const column = Math.floor((event.clientX - box.left) / box.width / (layout.left + layout.width));
      const row = Math.floor((event.clientY - box.top) / box.height / (layout.top + layout.height));
      open(viewer, Math.min(row, layout.rows - 1) * layout.columns + Math.min(column, layout.columns - 1));
    });
    sheet.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); open(viewer, viewer.chosen); }
    });
  }

  // Values under the pointer; a click goes there.
  const nearest = (kimg) => stops.reduce((found, each, index) =>
    Math.abs(each - kimg) < Math.abs(stops[found] - kimg) ? index : found, 0);
  for (const place of [...charts, ...maps]) {
    const end = place.end ?? place.kimgs[place.kimgs.length - 1];
    const kimg = (event) => {
      const box = place.plot.getBoundingClientRect();
      return Math.max(0, Math.min(1, (event.clientX - box.left) / box.width)) * end;
    };
    place.plot.addEventListener("pointermove", (event) => mark(kimg(event)));
    place.plot.addEventListener("pointerleave", () => { if (slider) mark(stops[slider.value]); });
    place.plot.addEventListener("click", (event) => { if (slider) show(nearest(kimg(event))); });
  }

  if (!slider) return;
  slider.closest(".player").hidden = false;
  const play = document.getElementById("play"), best = document.getElementById("best");
  let timer = null;
  const stop = () => { clearInterval(timer); timer = null; play.textContent = "▶"; play.setAttribute("aria-label", "play the training"); };
  slider.addEventListener("input", () => { stop(); show(Number(slider.value)); });
  play.addEventListener("click", () => {
    if (timer) { stop(); return; }
    if (Number(slider.value) === stops.length - 1) show(0);
    play.textContent = "❚❚";
    play.setAttribute("aria-label", "pause");
    timer = setInterval(() => {
      if (Number(slider.value) >= stops.length - 1) stop(); else show(Number(slider.value) + 1);
    }, Math.max(120, Math.min(500, 8000 / stops.length)));
  });
  if (best) best.addEventListener("click", () => { stop(); show(nearest(Number(best.dataset.kimg))); });
  show(stops.length - 1);
})();
