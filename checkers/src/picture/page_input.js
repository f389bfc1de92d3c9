// What a person does: moving, zooming, pointing, searching, filtering.
let pending = false;
function redraw() {
  if (pending) return;
  pending = true;
  requestAnimationFrame(flush);
}
function flush() {
  if (!pending) return;
  pending = false;
  draw();
}

function limit() {
  view.span = Math.min(Math.max(view.span, 10), end * 1.1);
  view.from = Math.min(Math.max(view.from, -0.05 * view.span), Math.max(-0.05 * view.span, end - 0.95 * view.span));
  const height = TOP + lanes.length * LANE + LANE / 2 - canvas.clientHeight;
  view.top = Math.max(0, Math.min(view.top, height));
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
function fit() {
  Object.assign(view, { from: -0.02 * end, span: end * 1.04, top: 0 });
  limit(); redraw();
}

// The whole witness where it is short enough to be read, else its last operation.
function showWitness() {
  const from = called[witness[0]];
  let to = 0, length = Infinity;
  for (const row of witness) {
    const stop = returned[row] < 0 ? called[row] : returned[row];
    to = Math.max(to, stop);
    if (returned[row] >= 0) length = Math.min(length, Math.max(returned[row] - called[row], 1));
  }
  if (to - from > 400 * length) return goTo(witness[witness.length - 1]);
  view.span = Math.max((to - from) * 1.35, 10);
  view.from = from - (to - from) * 0.15;
  centre(witness.map((row) => laneOf[row]));
  pick(witness[witness.length - 1]);
}
function centre(numbers) {
  const middle = (Math.min(...numbers) + Math.max(...numbers) + 1) / 2;
  view.top = TOP + middle * LANE - (canvas.clientHeight + TOP) / 2;
  limit();
}
function goTo(row) {
  const length = Math.max(barEnd[row] - called[row], 10);
  view.span = Math.min(end * 1.04, length * 9);
  view.from = called[row] - view.span * 0.4;
  centre([laneOf[row]]);
  pick(row);
}
function pick(row) { picked = row; describe(row); limit(); redraw(); }

let at = -1;
function stops() {
  if (!matches) return witness;
  const rows = [];
  for (let row = 0; row < count; row++) if (matches[row] && laneOf[row] >= 0) rows.push(row);
  return rows.sort((a, b) => called[a] - called[b]);
}
function cycle(step) {
  const list = stops();
  if (!list.length) return;
  at = at < 0 && step < 0 ? list.length - 1 : (at + step + list.length) % list.length;
  if (matches) element("found").textContent = `${(at + 1).toLocaleString("en")} of ${list.length.toLocaleString("en")}`;
  goTo(list[at]);
}

function describe(row) {
  if (row < 0) { element("detail").textContent = ""; return; }
  const until = returned[row] < 0 ? "outcome unknown" :
    `returned at ${duration(returned[row])}, after ${duration(returned[row] - called[row])}`;
  const effect = point[row] >= 0 ? ` · can have taken effect at ${duration(point[row])}` : "";
  const key = data.keys[data.key[row]] ? ` · key ${data.keys[data.key[row]]}` : "";
  const number = data.op[row] ? `#${data.op[row]} · ` : "";
  element("detail").textContent = `${number}client ${data.client[row]}${key}${marked[row] ? " · part of the violation" : ""}\n` +
    `${data.texts[data.text[row]]}\ncalled at ${duration(called[row])}, ${until}${effect}`;
}

function rowAt(x, y) {
  const lane = lanes[Math.floor((y - TOP + view.top) / LANE)];
  if (!lane || x < LEFT || y < TOP) return -1;
  const time = timeOf(x), slack = (2 / width()) * view.span;
  const row = lane.rows[firstAfter(lane.rows, time - slack)];
  return row !== undefined && called[row] <= time + slack ? row : -1;
}

let drag = null;
canvas.addEventListener("pointerdown", (event) => {
  drag = { x: event.clientX, y: event.clientY, moved: 0 };
  canvas.setPointerCapture(event.pointerId);
  canvas.classList.add("held");
  canvas.focus();
});
canvas.addEventListener("pointermove", (event) => {
  if (drag) {
    const [x, y] = [drag.x - event.clientX, drag.y - event.clientY];
    drag = { x: event.clientX, y: event.clientY, moved: drag.moved + Math.abs(x) + Math.abs(y) };
    pan(x, y);
    return;
  }
  const row = rowAt(event.offsetX, event.offsetY);
  if (row !== hover) { hover = row; describe(row < 0 ? picked : row); redraw(); }
});
canvas.addEventListener("pointerup", (event) => {
  if (drag && drag.moved < 4) pick(rowAt(event.offsetX, event.offsetY));
  drag = null;
  canvas.classList.remove("held");
});
canvas.addEventListener("pointerleave", () => { if (hover >= 0) { hover = -1; describe(picked); redraw(); } });
canvas.addEventListener("dblclick", (event) => { const row = rowAt(event.offsetX, event.offsetY); if (row >= 0) goTo(row); });
canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  if (event.shiftKey) pan(event.deltaX || event.deltaY, 0);
  else if (event.altKey) pan(0, event.deltaY);
  else if (Math.abs(event.deltaY) >= Math.abs(event.deltaX)) zoom(Math.exp(event.deltaY * 0.0015), event.offsetX);
  else pan(event.deltaX, 0);
}, { passive: false });
function moveByMap(event) {
  const time = ((event.offsetX - LEFT) / Math.max(1, map.clientWidth - LEFT - 12)) * end;
  view.from = time - view.span / 2;
  limit(); redraw();
}
map.addEventListener("pointerdown", (event) => { map.setPointerCapture(event.pointerId); moveByMap(event); });
map.addEventListener("pointermove", (event) => { if (event.buttons) moveByMap(event); });

const actions = {
  ArrowLeft: () => pan(-80, 0), ArrowRight: () => pan(80, 0),
  ArrowUp: () => pan(0, -LANE), ArrowDown: () => pan(0, LANE),
  PageUp: () => pan(0, -canvas.clientHeight / 2), PageDown: () => pan(0, canvas.clientHeight / 2),
  Home: () => { view.from = 0; limit(); redraw(); }, End: () => { view.from = end; limit(); redraw(); },
  "+": () => zoom(0.7), "=": () => zoom(0.7), "-": () => zoom(1.4), 0: fit,
  n: () => cycle(1), p: () => cycle(-1), "/": () => element("search").focus(), k: () => element("key").focus(),
};
document.addEventListener("keydown", (event) => {
  if (event.target.tagName === "INPUT") {
    if (event.key === "Escape") canvas.focus();
    if (event.key === "Enter" && event.target.id === "search") cycle(event.shiftKey ? -1 : 1);
    return;
  }
  if (event.target.tagName === "BUTTON" && (event.key === "Enter" || event.key === " ")) return;
  const action = event.ctrlKey || event.metaKey || event.altKey ? null : actions[event.key];
  if (action) { event.preventDefault(); action(); }
});

const lowered = [];
let found = 0;
element("search").addEventListener("input", () => {
  const text = element("search").value.trim().toLowerCase();
  at = -1;
  if (!text) matches = null;
  else {
    if (!lowered.length) for (const candidate of data.texts) lowered.push(candidate.toLowerCase());
    const hits = lowered.map((candidate) => candidate.includes(text));
    const number = /^#\d+$/.test(text) ? Number(text.slice(1)) : -1;
    matches = new Uint8Array(count);
    found = 0;
    for (let row = 0; row < count; row++) if (hits[data.text[row]] || data.op[row] === number) { matches[row] = 1; found++; }
  }
  element("found").textContent = matches ? `${found.toLocaleString("en")} found` : "";
  element("next").textContent = matches ? "next found ›" : "next marked ›";
  redraw();
});
function filter(key) {
  onlyKey = key;
  layOut(); limit(); redraw();
}
element("key").addEventListener("input", () => {
  const wanted = element("key").value.trim(), key = wanted ? data.keys.indexOf(wanted) : -1;
  element("key").setCustomValidity(wanted && key < 0 ? "no such key" : "");
  if (!wanted || key >= 0) filter(key);
});
element("only").addEventListener("click", () => { element("key").value = data.keys[dimKey]; filter(dimKey); if (witness.length) showWitness(); });
element("fit").addEventListener("click", fit);
element("next").addEventListener("click", () => cycle(1));
element("previous").addEventListener("click", () => cycle(-1));
window.addEventListener("resize", () => { limit(); redraw(); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { readColours(); redraw(); });

// The page itself. Keys offered while typing; any other can be typed.
const OFFERED_KEYS_MAX = 500, SHOWN_WITNESS_MAX = 40;
document.title = data.title;
element("title").textContent = data.title;
element("verdict").textContent = data.verdict;
element("verdict").className = data.verdict.replaceAll(" ", "-");
element("keys").append(...data.keys.slice(0, OFFERED_KEYS_MAX).filter((key) => key).map((key) => new Option(key)));
if (data.violation) {
  const box = element("violation");
  const line = (name, ...content) => {
    const [term, text] = [document.createElement("dt"), document.createElement("dd")];
    term.textContent = name;
    text.append(...content);
    box.append(term, text);
  };
  const key = data.violation.key;
  dimKey = data.keys.indexOf(key === "nil" ? "" : key);
  element("only").hidden = dimKey < 0 || data.keys.length < 2;
  line("violation", data.violation.kind + (key ? `, key ${key}` : ""));
  line("expected", data.violation.expected);
  line("got", data.violation.got);
  line("witness", ...witness.slice(0, SHOWN_WITNESS_MAX).map((row) => {
    const button = document.createElement("button");
    const until = returned[row] < 0 ? "∞" : duration(returned[row]);
    button.textContent = `${data.op[row] ? "#" + data.op[row] + "  " : ""}client ${data.client[row]}  [${duration(called[row])}, ${until}]  ${data.texts[data.text[row]]}`;
    button.addEventListener("click", () => { goTo(row); canvas.focus(); });
    return button;
  }), witness.length > SHOWN_WITNESS_MAX ? `and ${witness.length - SHOWN_WITNESS_MAX} more` : "");
  box.hidden = false;
}
readColours();
layOut();
fit();
if (witness.length) showWitness();
else element("detail").textContent = "Point at an operation, or click it to keep it here.";
canvas.focus({ focusVisible: false });
