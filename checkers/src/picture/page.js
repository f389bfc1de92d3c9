"use strict";
// What is drawn: columns of the history, lanes, the two canvases. Times are nanoseconds since
// the first call.
const begun = performance.now();
const data = JSON.parse(document.getElementById("data").textContent);
const element = (id) => document.getElementById(id);
const canvas = element("canvas"), map = element("map");
const pen = canvas.getContext("2d"), mapPen = map.getContext("2d");
const LANE = 28, TOP = 26, LEFT = 96;

const count = data.call.length;
const called = Float64Array.from(data.call), returned = Float64Array.from(data.return);
const point = Float64Array.from(data.point);
const marked = Uint8Array.from(data.marked);
const witness = [];
for (let row = 0; row < count; row++) if (marked[row]) witness.push(row);
witness.sort((a, b) => called[a] - called[b]);
let end = 1;
for (let row = 0; row < count; row++) end = Math.max(end, called[row], returned[row]);
const isRead = data.texts.map((text) => /^(range|read|contains|check)/.test(text));

// Where a row's bar ends. Nobody knows when an operation of unknown outcome ended: its bar
// fades out until its client calls again.
const barEnd = Float64Array.from(returned);
const byClient = new Map();
for (let row = 0; row < count; row++) {
  if (!byClient.has(data.client[row])) byClient.set(data.client[row], []);
  byClient.get(data.client[row]).push(row);
}
for (const rows of byClient.values()) {
  rows.sort((a, b) => called[a] - called[b]);
  let next = end;
  for (let at = rows.length - 1; at >= 0; at--) {
    if (returned[rows[at]] < 0) barEnd[rows[at]] = Math.max(next, called[rows[at]]);
    next = called[rows[at]];
  }
}
const clients = [...byClient.keys()].sort((a, b) => a - b);

// A client that overlaps itself takes several lanes.
let lanes = [], laneOf = new Int32Array(count), onlyKey = -1, shown = count;
function layOut() {
  lanes = [];
  shown = 0;
  laneOf.fill(-1);
  for (const client of clients) {
    const own = [];
    for (const row of byClient.get(client)) {
      if (onlyKey >= 0 && data.key[row] !== onlyKey && !marked[row]) continue;
      let lane = own.find((lane) => lane.free <= called[row]);
      if (!lane) { lane = { client, rows: [], free: 0, number: lanes.length, isFirst: !own.length }; own.push(lane); lanes.push(lane); }
      lane.rows.push(row);
      lane.free = barEnd[row];
      laneOf[row] = lane.number;
      shown++;
    }
  }
  element("count").textContent = `${shown.toLocaleString("en")} operations · ${clients.length.toLocaleString("en")} clients · ${duration(end)}`;
  layOutMap();
}

const view = { from: 0, span: end, top: 0 };
let hover = -1, picked = -1, matches = null, drawn = 0;

const width = () => Math.max(1, canvas.clientWidth - LEFT);
const xOf = (time) => LEFT + ((time - view.from) / view.span) * width();
const timeOf = (x) => view.from + ((x - LEFT) / width()) * view.span;

function duration(ns) {
  const units = [["s", 1e9], ["ms", 1e6], ["µs", 1e3], ["ns", 1]];
  const [name, size] = units.find(([, size]) => Math.abs(ns) >= size) || units[3];
  return `${+(ns / size).toPrecision(7)} ${name}`;
}

let colour = {};
function readColours() {
  const style = getComputedStyle(document.documentElement);
  for (const name of ["ink", "paper", "band", "line", "soft", "read", "write", "open", "bad", "pick"]) {
    colour[name] = style.getPropertyValue("--" + name).trim();
  }
}

function prepare(canvas, pen) {
  const scale = window.devicePixelRatio || 1, [w, h] = [canvas.clientWidth, canvas.clientHeight];
  if (canvas.width !== Math.round(w * scale) || canvas.height !== Math.round(h * scale)) {
    canvas.width = Math.round(w * scale);
    canvas.height = Math.round(h * scale);
  }
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.fillStyle = colour.paper;
  pen.fillRect(0, 0, w, h);
  pen.textBaseline = "middle";
  return [w, h];
}

// The first place in a lane whose bar ends at `time` or later: bars of a lane do not overlap.
function firstAfter(rows, time) {
  let low = 0, high = rows.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (barEnd[rows[middle]] < time) low = middle + 1; else high = middle;
  }
  return low;
}

function colourOf(row) {
  if (marked[row]) return colour.bad;
  if (returned[row] < 0) return colour.open;
  return isRead[data.text[row]] ? colour.read : colour.write;
}
const isDim = (row) => !marked[row] && (matches ? !matches[row] : dimKey >= 0 && data.key[row] !== dimKey);
let dimKey = -1;

function drawGrid(w, h) {
  const step = 10 ** Math.floor(Math.log10(view.span / 4));
  const grid = [1, 2, 5, 10, 20].map((n) => n * step).find((size) => (size / view.span) * w >= 110);
  pen.strokeStyle = colour.line;
  pen.fillStyle = colour.soft;
  pen.font = "11px system-ui, sans-serif";
  pen.lineWidth = 1;
  for (let time = Math.ceil(view.from / grid) * grid; time <= view.from + view.span; time += grid) {
    const x = Math.round(xOf(time)) + 0.5;
    if (x < LEFT) continue;
    pen.beginPath(); pen.moveTo(x, TOP - 6); pen.lineTo(x, h); pen.stroke();
    if (time >= 0) pen.fillText(duration(Math.round(time)), x + 4, 11);
  }
}

function drawBar(row, y, w) {
  const from = xOf(called[row]), to = xOf(barEnd[row]);
  const left = Math.max(LEFT, from), right = Math.min(w, Math.max(to, from + (marked[row] ? 4 : 1)));
  const width = right - left, isSpecial = row === hover || row === picked || (matches && matches[row]);
  if (width <= 0) return;
  pen.globalAlpha = isDim(row) ? 0.35 : 1;
  if (returned[row] < 0) {
    const fade = pen.createLinearGradient(from, 0, Math.max(to, from + 12), 0);
    fade.addColorStop(0, colourOf(row));
    fade.addColorStop(1, "transparent");
    pen.fillStyle = fade;
  } else pen.fillStyle = colourOf(row);
  pen.fillRect(left, y + 4, width, LANE - 8);
  if (width > 6) {
    pen.fillStyle = marked[row] ? colour.bad : colour.soft;
    if (from >= LEFT) pen.fillRect(left, y + 4, 1.5, LANE - 8);
    if (returned[row] >= 0 && to <= w) pen.fillRect(right - 1.5, y + 4, 1.5, LANE - 8);
  }
  if (isSpecial || marked[row]) {
    pen.strokeStyle = isSpecial ? colour.pick : colour.bad;
    pen.lineWidth = isSpecial ? 2 : 1;
    pen.strokeRect(left, y + 3.5, width, LANE - 7);
  }
  if (width > 34) {
    pen.save();
    pen.beginPath(); pen.rect(left, y, width - 4, LANE); pen.clip();
    pen.fillStyle = marked[row] ? "#fff" : colour.ink;
    pen.font = (marked[row] ? "600 " : "") + "11px ui-monospace, monospace";
    const key = data.keys[data.key[row]];
    pen.fillText(data.texts[data.text[row]] + (key && onlyKey < 0 ? `  ⟨${key}⟩` : ""), left + 6, y + LANE / 2 + 0.5);
    pen.restore();
  }
  if (point[row] >= 0 && width > 5) {
    const x = xOf(point[row]);
    pen.fillStyle = colour.ink;
    pen.beginPath(); pen.arc(Math.min(Math.max(x, left + 2), right - 2), y + LANE - 5.5, 2.5, 0, 7); pen.fill();
  }
  pen.globalAlpha = 1;
}

function draw() {
  const [w, h] = prepare(canvas, pen);
  const first = Math.max(0, Math.floor(view.top / LANE));
  const last = Math.min(lanes.length, Math.ceil((view.top + h - TOP) / LANE));
  const yOf = (lane) => TOP + lane * LANE - view.top;
  pen.fillStyle = colour.band;
  for (let lane = first; lane < last; lane++) if (lane % 2) pen.fillRect(0, yOf(lane), w, LANE);
  drawGrid(w, h);
  drawn = 0;
  pen.save();
  pen.beginPath(); pen.rect(LEFT, TOP - 2, w - LEFT, h); pen.clip();
  for (const row of witness) {
    pen.globalAlpha = 0.08;
    pen.fillStyle = colour.bad;
    const right = returned[row] < 0 ? barEnd[row] : returned[row];
    pen.fillRect(xOf(called[row]), TOP, Math.max(1, xOf(right) - xOf(called[row])), h);
    pen.globalAlpha = 1;
  }
  const scale = width() / view.span, until = view.from + view.span;
  for (let lane = first; lane < last; lane++) {
    const { rows } = lanes[lane], y = yOf(lane), special = [];
    // What is narrower than a few pixels is drawn together with its neighbours.
    let runFrom = 0, runTo = -1, runColour = null, runIsDim = false;
    const flush = () => {
      if (runTo > runFrom) {
        pen.fillStyle = runColour;
        pen.globalAlpha = runIsDim ? 0.35 : 0.9;
        pen.fillRect(runFrom, y + 4, runTo - runFrom, LANE - 8);
        pen.globalAlpha = 1;
      }
      runTo = -1;
    };
    for (let at = firstAfter(rows, view.from); at < rows.length; at++) {
      const row = rows[at];
      if (called[row] > until) break;
      drawn++;
      if (marked[row] || row === hover || row === picked) { special.push(row); continue; }
      if ((barEnd[row] - called[row]) * scale > 3) { flush(); drawBar(row, y, w); continue; }
      const left = LEFT + (called[row] - view.from) * scale, right = Math.max(left + 1, LEFT + (barEnd[row] - view.from) * scale);
      const dim = isDim(row);
      if (runTo < 0 || left > runTo + 0.5) { flush(); runFrom = left; runColour = colourOf(row); runIsDim = dim; }
      // What was looked for is seen among what was not.
      else if (runIsDim && !dim) { runTo = Math.max(runFrom + 0.5, left); flush(); runFrom = left; runColour = colourOf(row); runIsDim = false; }
      else if (!runIsDim && dim && left >= runTo) { flush(); runFrom = left; runColour = colourOf(row); runIsDim = true; }
      runTo = Math.max(runTo, right);
    }
    flush();
    for (const row of special) drawBar(row, y, w);
  }
  drawPrecedence(yOf);
  pen.restore();
  drawEdges(w, h, first, last, yOf);
  drawMap();
}

// From each marked operation to the next that was called after it had returned.
function drawPrecedence(yOf) {
  pen.strokeStyle = colour.bad;
  pen.lineWidth = 1.2;
  pen.setLineDash([5, 4]);
  for (let at = 1; at < witness.length; at++) {
    const [a, b] = [witness[at - 1], witness[at]];
    if (returned[a] < 0 || returned[a] > called[b] || laneOf[a] < 0 || laneOf[b] < 0) continue;
    const [x1, y1, x2, y2] = [xOf(returned[a]), yOf(laneOf[a]) + LANE / 2, xOf(called[b]), yOf(laneOf[b]) + LANE / 2];
    pen.beginPath(); pen.moveTo(x1, y1); pen.bezierCurveTo((x1 + x2) / 2, y1, (x1 + x2) / 2, y2, x2, y2); pen.stroke();
  }
  pen.setLineDash([]);
}

function drawEdges(w, h, first, last, yOf) {
  pen.fillStyle = colour.paper;
  pen.fillRect(0, 0, LEFT, h);
  pen.font = "12px system-ui, sans-serif";
  for (let lane = first; lane < last; lane++) {
    const y = yOf(lane);
    if (y < TOP - LANE / 2) continue;
    const isMarked = witness.some((row) => laneOf[row] === lane);
    pen.fillStyle = isMarked ? colour.bad : colour.soft;
    pen.fillText(lanes[lane].isFirst ? `client ${lanes[lane].client}` : "  ⋮", 10, y + LANE / 2);
  }
  pen.fillStyle = colour.paper;
  pen.fillRect(0, 0, LEFT, TOP - 2);
  pen.fillStyle = colour.line;
  pen.fillRect(LEFT - 1, 0, 1, h);
  pen.fillRect(0, TOP - 2, w, 1);
  pen.fillStyle = colour.bad;
  for (const row of witness) {
    const x = xOf(called[row]);
    if (x < LEFT || x > w) continue;
    pen.beginPath(); pen.moveTo(x - 5, TOP - 10); pen.lineTo(x + 5, TOP - 10); pen.lineTo(x, TOP - 2); pen.fill();
  }
}

// The whole history: how many operations were called when.
const BINS = 800;
let bins = new Float64Array(BINS);
function layOutMap() {
  bins.fill(0);
  for (let row = 0; row < count; row++) if (laneOf[row] >= 0) bins[Math.min(BINS - 1, Math.floor((called[row] / end) * BINS))]++;
}
const mapX = (time) => LEFT + (time / end) * Math.max(1, map.clientWidth - LEFT - 12);
function drawMap() {
  const [w, h] = prepare(map, mapPen);
  const most = bins.reduce((a, b) => Math.max(a, b), 1), step = mapX(end / BINS) - mapX(0);
  mapPen.fillStyle = colour.read;
  for (let bin = 0; bin < BINS; bin++) {
    const height = Math.sqrt(bins[bin] / most) * (h - 8);
    mapPen.fillRect(mapX((bin / BINS) * end), h - 2 - height, step + 0.3, height);
  }
  mapPen.fillStyle = colour.soft;
  mapPen.font = "11px system-ui, sans-serif";
  mapPen.fillText("overview", 10, h / 2);
  mapPen.fillStyle = colour.bad;
  for (const row of witness) mapPen.fillRect(mapX(called[row]) - 1, 0, 2.5, h);
  const left = mapX(Math.max(0, view.from)), right = mapX(Math.min(end, view.from + view.span));
  mapPen.strokeStyle = colour.ink;
  mapPen.lineWidth = 1.5;
  mapPen.strokeRect(left - 1, 1, Math.max(4, right - left) + 2, h - 2);
}
