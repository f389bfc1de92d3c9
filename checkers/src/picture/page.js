"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const [OP, CLIENT, CALL, RETURN, KEY, TEXT, POINT, MARKED] = [0, 1, 2, 3, 4, 5, 6, 7];
const element = (id) => document.getElementById(id);
const canvas = element("canvas");
const pen = canvas.getContext("2d");
const LANE = 26, TOP = 24, LEFT = 86;

const end = data.operations.reduce((most, row) => Math.max(most, row[RETURN], row[CALL]), 1);
const stop = (row) => (row[RETURN] < 0 ? Infinity : row[RETURN]);

// Each client's operations by call; a client that overlaps itself takes several lanes.
let lanes = [];
function layOut() {
  const key = Number(element("key").value);
  const clients = new Map();
  for (const row of data.operations) {
    if (key >= 0 && row[KEY] !== key && !row[MARKED]) continue;
    if (!clients.has(row[CLIENT])) clients.set(row[CLIENT], []);
    clients.get(row[CLIENT]).push(row);
  }
  lanes = [];
  for (const [client, rows] of [...clients].sort((a, b) => a[0] - b[0])) {
    rows.sort((a, b) => a[CALL] - b[CALL]);
    const own = [];
    for (const row of rows) {
      let lane = own.find((lane) => lane.free <= row[CALL]);
      if (!lane) { lane = { client, rows: [], free: 0 }; own.push(lane); }
      lane.rows.push(row);
      lane.free = stop(row);
    }
    lanes.push(...own);
  }
  const shown = lanes.reduce((sum, lane) => sum + lane.rows.length, 0);
  element("count").textContent = `${shown} operations, ${clients.size} clients`;
}

let view = { from: 0, span: end, top: 0 };
let hover = null, matches = new Set(), wanted = -1;

function colours() {
  const style = getComputedStyle(document.documentElement);
  return Object.fromEntries(["ink", "paper", "line", "soft", "op", "open", "bad"]
    .map((name) => [name, style.getPropertyValue("--" + name).trim()]));
}

const width = () => canvas.clientWidth - LEFT;
const xOf = (time) => LEFT + ((time - view.from) / view.span) * width();
const timeOf = (x) => view.from + ((x - LEFT) / width()) * view.span;

function duration(ns) {
  const units = [["s", 1e9], ["ms", 1e6], ["µs", 1e3], ["ns", 1]];
  const [name, size] = units.find(([, size]) => Math.abs(ns) >= size) || units[3];
  return `${+(ns / size).toPrecision(6)} ${name}`;
}

// The first row of a lane that ends after `time`: rows of a lane do not overlap.
function firstAfter(rows, time) {
  let low = 0, high = rows.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (stop(rows[middle]) < time) low = middle + 1; else high = middle;
  }
  return low;
}

function draw() {
  const scale = window.devicePixelRatio || 1;
  const [w, h] = [canvas.clientWidth, canvas.clientHeight];
  if (canvas.width !== Math.round(w * scale) || canvas.height !== Math.round(h * scale)) {
    canvas.width = Math.round(w * scale);
    canvas.height = Math.round(h * scale);
  }
  const colour = colours();
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.fillStyle = colour.paper;
  pen.fillRect(0, 0, w, h);
  pen.font = "11px ui-monospace, monospace";
  pen.textBaseline = "middle";
  const step = 10 ** Math.floor(Math.log10(view.span / 4));
  const grid = [1, 2, 5, 10].map((n) => n * step).find((size) => view.span / size <= 10);
  pen.strokeStyle = colour.line;
  pen.fillStyle = colour.soft;
  for (let time = Math.ceil(view.from / grid) * grid; time <= view.from + view.span; time += grid) {
    const x = Math.round(xOf(time)) + 0.5;
    pen.beginPath(); pen.moveTo(x, TOP - 4); pen.lineTo(x, h); pen.stroke();
    pen.fillText(duration(time), x + 3, 10);
  }
  const first = Math.max(0, Math.floor(view.top / LANE));
  const last = Math.min(lanes.length, Math.ceil((view.top + h) / LANE));
  for (let index = first; index < last; index++) {
    const lane = lanes[index], y = TOP + index * LANE - view.top;
    if (y + LANE < TOP) continue;
    pen.fillStyle = colour.soft;
    pen.fillText(`client ${lane.client}`, 6, y + LANE / 2);
    let drawnTo = -1;
    for (let at = firstAfter(lane.rows, view.from); at < lane.rows.length; at++) {
      const row = lane.rows[at];
      if (row[CALL] > view.from + view.span) break;
      const left = Math.max(LEFT, xOf(row[CALL]));
      const right = row[RETURN] < 0 ? w : Math.min(w, Math.max(xOf(row[RETURN]), left + 1));
      const special = row[MARKED] || row === hover || matches.has(row);
      // What falls into a pixel already drawn is not drawn again.
      if (right <= drawnTo && !special) continue;
      drawnTo = Math.max(drawnTo, Math.ceil(right));
      pen.fillStyle = row[MARKED] ? colour.bad : row[RETURN] < 0 ? colour.open : colour.op;
      pen.globalAlpha = matches.size && !matches.has(row) ? 0.3 : 1;
      pen.fillRect(left, y + 3, Math.max(1, right - left), LANE - 6);
      pen.globalAlpha = 1;
      if (row === hover || matches.has(row)) {
        pen.strokeStyle = colour.ink;
        pen.strokeRect(left + 0.5, y + 3.5, Math.max(1, right - left - 1), LANE - 7);
      }
      if (row[POINT] >= 0 && right - left > 6) {
        const x = xOf(row[POINT]);
        pen.strokeStyle = colour.ink;
        pen.beginPath(); pen.moveTo(x, y + 2); pen.lineTo(x, y + LANE - 2); pen.stroke();
      }
      if (right - left > 40) {
        pen.save();
        pen.beginPath(); pen.rect(left, y, right - left - 3, LANE); pen.clip();
        pen.fillStyle = row[MARKED] ? "#fff" : colour.ink;
        pen.fillText(data.texts[row[TEXT]], left + 4, y + LANE / 2);
        pen.restore();
      }
    }
  }
  pen.fillStyle = colour.paper;
  pen.fillRect(0, 0, LEFT, TOP - 4);
}

let pending = false;
function redraw() {
  if (pending) return;
  pending = true;
  requestAnimationFrame(() => { pending = false; draw(); });
}

function limit() {
  view.span = Math.min(Math.max(view.span, 10), end * 1.2);
  view.from = Math.min(Math.max(view.from, -0.05 * end), end * 1.05 - Math.min(view.span, end));
  view.top = Math.max(0, Math.min(view.top, TOP + lanes.length * LANE - canvas.clientHeight + LANE));
}
function pan(x, y) {
  view.from += (x / width()) * view.span;
  view.top += y;
  limit(); redraw();
}
function zoom(factor, x = LEFT + width() / 2) {
  const time = timeOf(x);
  view.span *= factor;
  limit();
  view.from = time - ((x - LEFT) / width()) * view.span;
  limit(); redraw();
}
function fit() { view = { from: -0.02 * end, span: end * 1.04, top: 0 }; limit(); redraw(); }

function goTo(row) {
  const length = Math.max((row[RETURN] < 0 ? end : row[RETURN]) - row[CALL], 10);
  view.span = Math.min(end * 1.04, length * 12);
  view.from = row[CALL] - view.span / 3;
  const lane = lanes.findIndex((lane) => lane.rows.includes(row));
  view.top = TOP + lane * LANE - canvas.clientHeight / 2;
  hover = row;
  limit(); describe(row); redraw();
}
function cycle(step) {
  const list = matches.size ? [...matches] : data.operations.filter((row) => row[MARKED]);
  if (!list.length) return;
  wanted = (wanted + step + list.length) % list.length;
  goTo(list[wanted]);
}

function describe(row) {
  const detail = element("detail");
  if (!row) { detail.textContent = ""; return; }
  const until = row[RETURN] < 0 ? "outcome unknown" :
    `returned at ${duration(row[RETURN])}, after ${duration(row[RETURN] - row[CALL])}`;
  const point = row[POINT] >= 0 ? `, can have taken effect at ${duration(row[POINT])}` : "";
  const key = data.keys[row[KEY]] ? ` key ${data.keys[row[KEY]]}` : "";
  detail.textContent = `#${row[OP]} client ${row[CLIENT]}${key}\n${data.texts[row[TEXT]]}\n` +
    `called at ${duration(row[CALL])}, ${until}${point}`;
}

function rowAt(x, y) {
  const lane = lanes[Math.floor((y - TOP + view.top) / LANE)];
  if (!lane || x < LEFT || y < TOP) return null;
  const time = timeOf(x), slack = (2 / width()) * view.span;
  const row = lane.rows[firstAfter(lane.rows, time - slack)];
  return row && row[CALL] <= time + slack ? row : null;
}

let drag = null;
canvas.addEventListener("pointerdown", (event) => {
  drag = { x: event.clientX, y: event.clientY };
  canvas.setPointerCapture(event.pointerId);
  canvas.focus();
});
canvas.addEventListener("pointermove", (event) => {
  if (drag) {
    pan(drag.x - event.clientX, drag.y - event.clientY);
    drag = { x: event.clientX, y: event.clientY };
    return;
  }
  const row = rowAt(event.offsetX, event.offsetY);
  if (row !== hover) { hover = row; describe(row); redraw(); }
});
canvas.addEventListener("pointerup", () => { drag = null; });
canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  if (event.shiftKey) pan(event.deltaX || event.deltaY, 0);
  else if (event.ctrlKey || Math.abs(event.deltaY) >= Math.abs(event.deltaX)) {
    zoom(Math.exp(event.deltaY * 0.0015), event.offsetX);
  } else pan(event.deltaX, 0);
}, { passive: false });

const keys = {
  ArrowLeft: () => pan(-80, 0), ArrowRight: () => pan(80, 0),
  ArrowUp: () => pan(0, -LANE), ArrowDown: () => pan(0, LANE),
  PageUp: () => pan(0, -canvas.clientHeight / 2), PageDown: () => pan(0, canvas.clientHeight / 2),
  "+": () => zoom(0.7), "=": () => zoom(0.7), "-": () => zoom(1.4), 0: fit,
  n: () => cycle(1), p: () => cycle(-1), "/": () => element("search").focus(),
};
document.addEventListener("keydown", (event) => {
  if (event.target.tagName === "INPUT" || event.target.tagName === "SELECT") {
    if (event.key === "Escape") canvas.focus();
    if (event.key === "Enter") cycle(1);
    return;
  }
  const action = event.ctrlKey || event.metaKey || event.altKey ? null : keys[event.key];
  if (action) { event.preventDefault(); action(); }
});

element("search").addEventListener("input", () => {
  const text = element("search").value.trim().toLowerCase();
  wanted = -1;
  const hits = data.texts.map((candidate) => text !== "" && candidate.toLowerCase().includes(text));
  matches = new Set(data.operations.filter((row) => hits[row[TEXT]] || (text && `#${row[OP]}` === text)));
  element("found").textContent = text ? `${matches.size} found` : "";
  redraw();
});
element("key").addEventListener("change", () => { layOut(); limit(); redraw(); });
element("fit").addEventListener("click", fit);
element("marked").addEventListener("click", () => cycle(1));
window.addEventListener("resize", () => { limit(); redraw(); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);

element("title").textContent = data.title;
document.title = data.title;
element("verdict").textContent = data.verdict;
element("verdict").className = data.verdict;
const all = new Option("all", "-1");
element("key").append(all, ...data.keys.map((key, index) => new Option(key || "(none)", index)));
if (data.violation) {
  const box = element("violation"), line = (name, text) => {
    const bold = document.createElement("b");
    bold.textContent = name;
    box.append(bold, " " + text + "\n");
  };
  box.hidden = false;
  line("expected", data.violation.expected);
  line("got", data.violation.got);
}
layOut();
fit();
if (data.violation) cycle(1);
canvas.focus();
window.veridical = { view, lanes: () => lanes, ready: true };
