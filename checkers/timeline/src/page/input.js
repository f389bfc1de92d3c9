// What a person does: moving, zooming, pointing, scrubbing, searching, filtering.
let pending = false;
function redraw(isSceneOld = true) {
  sceneIsOld ||= isSceneOld;
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
  measure();
  view.span = Math.min(Math.max(view.span, isPlain ? 10 : 1000), end * 1.1);
  view.from = Math.min(Math.max(view.from, -0.05 * view.span), Math.max(-0.05 * view.span, end - 0.95 * view.span));
  view.top = Math.max(0, Math.min(view.top, stageHeight - canvas.clientHeight));
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
  Object.assign(view, { from: -0.01 * end, span: end * 1.03, top: 0 });
  limit(); redraw();
}
function setCursor(time) {
  cursor = Math.min(Math.max(time, 0), end);
  showPanel();
  redraw(false);
}
// Brings a time into the window, if it is not there.
function showAround(time) {
  if (time >= view.from && time <= view.from + view.span) return;
  view.from = time - view.span * 0.5;
  limit(); redraw();
}
function pick(item) {
  picked = item;
  element("detail").textContent = describe(item);
  redraw();
}

// The witness, where it is short; else what ended last, and what went before it.
function showWitness() {
  if (!witness.length) { setCursor(isPlain ? 0 : end); return; }
  const last = witness.reduce((a, b) => (opEnd[b] >= opEnd[a] ? b : a)), length = opEnd[last] - ops.call[last];
  let from = Math.min(...witness.map((row) => ops.call[row])), to = opEnd[last];
  if (to - from > 40 * Math.max(length, isPlain ? 10 : 1e6)) from = ops.call[last] - length * 2;
  const room = Math.max(to - from, isPlain ? 10 : 2e6);
  view.span = room * 1.25;
  view.from = from - room * 0.12;
  setCursor(to);
  reveal(last);
  pick({ type: "op", row: last });
}
// Scrolls to the row of an operation, no further than needed.
function reveal(row) {
  const y = opY(row);
  if (y === null) return;
  if (y > canvas.clientHeight - 12) view.top += y - canvas.clientHeight + 30;
  if (y < TOP + 10) view.top += y - TOP - 30;
  limit();
}
function goToOp(row) {
  const length = Math.max(opEnd[row] - ops.call[row], isPlain ? 10 : 1e5);
  view.span = Math.min(end * 1.03, isPlain ? length * 9 : Math.max(length * 6, 2e7));
  view.from = ops.call[row] - view.span * 0.35;
  setCursor(ops.call[row]);
  reveal(row);
  pick({ type: "op", row });
}

// What search has found: operations are marked; messages, faults and log lines are places to go.
const HITS_MAX = 20000;
let hits = null, at = -1;
const lowered = new Map();
// Texts in lower case, made once.
function lower(name, texts) {
  if (!lowered.has(name)) lowered.set(name, texts.map((text) => text.toLowerCase()));
  return lowered.get(name);
}
function search(text) {
  at = -1;
  if (!text) hits = null;
  else {
    const wanted = text.toLowerCase(), number = /^#\d+$/.test(text) ? Number(text.slice(1)) : -1;
    hits = { ops: new Uint8Array(opCount), stops: [], total: 0 };
    const add = (stop) => { hits.total++; if (hits.stops.length < HITS_MAX) hits.stops.push(stop); };
    const texts = lower("operations", data.texts).map((text) => number < 0 && text.includes(wanted));
    for (let row = 0; row < opCount; row++) {
      if (ops.op[row] === number || texts[ops.text[row]]) { hits.ops[row] = 1; add({ at: ops.call[row], type: "op", row }); }
    }
    if (number < 0) {
      for (const fault of data.faults) if (fault.text.toLowerCase().includes(wanted)) add({ at: fault.at, type: "fault", fault });
      const kinds = data.kinds.map((kind) => kind.name.toLowerCase().includes(wanted));
      for (let i = 0; i < count; i++) {
        for (let part = partFrom[i]; visible[i] && part < partFrom[i + 1]; part++) if (kinds[partKind[part]]) { add({ at: sent[i], type: "message", i }); break; }
      }
      names.forEach((name, process) => {
        const log = data.logs[process];
        if (log) lower(process, log.text).forEach((text, line) => { if (text.includes(wanted)) add({ at: log.t[line], type: "log", process }); });
      });
    }
    hits.stops.sort((a, b) => a.at - b.at);
  }
  element("found").textContent = hits ? `${hits.total.toLocaleString("en")} found` : "";
  element("next").textContent = nextLabel();
  redraw();
}
const nextLabel = () => (hits ? "next found ›" : witness.length ? "next marked ›" : "next ›");
function cycle(step) {
  const stops = hits ? hits.stops : witness.map((row) => ({ at: ops.call[row], type: "op", row }));
  if (!stops.length) return;
  // From where the person is.
  if (at < 0) at = step > 0 ? stops.findIndex((stop) => stop.at > cursor) - 1 : stops.findIndex((stop) => stop.at >= cursor);
  at = (at + step + stops.length) % stops.length;
  const stop = stops[at];
  if (hits) element("found").textContent = `${(at + 1).toLocaleString("en")} of ${hits.total.toLocaleString("en")}`;
  if (stop.type === "op") { goToOp(stop.row); return; }
  if (stop.type === "log") logProcess = stop.process;
  setCursor(stop.at);
  showAround(stop.at);
  pick(stop.type === "log" ? { type: "process", process: stop.process } : stop);
}

// The cursor goes to the next thing that happens: a message sent or got, a change of a state.
function step(direction) {
  let best = direction > 0 ? Infinity : -Infinity;
  const consider = (time) => {
    if (direction > 0 ? time > cursor + 0.5 && time < best : time < cursor - 0.5 && time > best) best = time;
  };
  for (let i = 0; i < count; i++) if (visible[i]) { consider(sent[i]); if (ended[i] >= 0) consider(ended[i]); }
  for (const time of data.states.t) consider(time);
  for (let row = 0; row < opCount; row++) { consider(ops.call[row]); consider(opEnd[row]); }
  if (Number.isFinite(best)) { setCursor(best); showAround(cursor); }
}
let playing = null;
function play() {
  playing = playing === null ? performance.now() : null;
  element("play").textContent = playing === null ? "▶" : "❚❚";
  if (playing !== null) requestAnimationFrame(advance);
}
function advance(now) {
  if (playing === null) return;
  // The window passes in ten seconds.
  setCursor(cursor + (view.span / 1e4) * Math.max(0, now - playing));
  playing = now;
  if (cursor > view.from + view.span * 0.9) { view.from = cursor - view.span * 0.5; limit(); redraw(); }
  if (cursor >= end) play(); else requestAnimationFrame(advance);
}

function itemAt(x, y) {
  if (x < LEFT && y > TOP) {
    const lane = lanes.find((lane) => y >= lane.y - view.top && y < lane.y - view.top + lane.height);
    return lane ? { type: "process", process: lane.process } : null;
  }
  const row = Math.floor((y - AXIS) / FAULT_ROW);
  if (row >= 0 && row < faultClasses.length) {
    const inside = faultsOf[faultClasses[row]].filter((fault) => x >= xOf(fault.at) - 2 && x <= Math.max(xOf(fault.at) + 4, xOf(fault.end)));
    return inside.length ? { type: "fault", fault: inside[inside.length - 1] } : null;
  }
  for (const lane of lanes) {
    const place = lane.rows[Math.floor((y - lane.y - WIRE_ROW + view.top) / OP_ROW)];
    if (lane.isNode || !place || y < lane.y + WIRE_ROW - view.top) continue;
    const slack = (2 / width()) * view.span, time = timeOf(x);
    const op = place.ops[after(place.ops, (op) => opEnd[op], time - slack)];
    if (op !== undefined && ops.call[op] <= time + slack) return { type: "op", row: op };
  }
  const i = messageAt(x, y);
  if (i >= 0) return { type: "message", i };
  const lane = lanes.find((lane) => y >= lane.y - view.top && y < lane.y - view.top + lane.height);
  return lane ? { type: "process", process: lane.process } : null;
}
const same = (a, b) => a?.type === b?.type && a?.i === b?.i && a?.row === b?.row && a?.fault === b?.fault && a?.process === b?.process;

let drag = null;
canvas.addEventListener("pointerdown", (event) => {
  drag = { x: event.clientX, y: event.clientY, moved: 0 };
  if (event.isTrusted) canvas.setPointerCapture(event.pointerId);
  canvas.focus();
});
canvas.addEventListener("pointermove", (event) => {
  if (drag) {
    const [x, y] = [drag.x - event.clientX, drag.y - event.clientY];
    drag = { x: event.clientX, y: event.clientY, moved: drag.moved + Math.abs(x) + Math.abs(y) };
    canvas.classList.add("held");
    pan(x, y);
    return;
  }
  const item = itemAt(event.offsetX, event.offsetY);
  if (!same(item, hover)) { hover = item; element("detail").textContent = describe(item ?? picked); redraw(); }
});
canvas.addEventListener("pointerup", (event) => {
  if (drag && drag.moved < 4) {
    const item = itemAt(event.offsetX, event.offsetY);
    if (item?.type === "process" && data.logs[item.process]) logProcess = item.process;
    if (item?.type === "message") logProcess = receiver[item.i];
    if (event.offsetX >= LEFT) setCursor(timeOf(event.offsetX)); else showPanel();
    pick(item);
  }
  drag = null;
  canvas.classList.remove("held");
});
canvas.addEventListener("pointerleave", () => { if (hover) { hover = null; element("detail").textContent = describe(picked); redraw(); } });
canvas.addEventListener("dblclick", (event) => zoom(0.25, event.offsetX));
canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  if (event.shiftKey) pan(event.deltaX || event.deltaY, 0);
  else if (event.altKey) pan(0, event.deltaY);
  else if (Math.abs(event.deltaY) >= Math.abs(event.deltaX)) zoom(Math.exp(event.deltaY * 0.0015), Math.max(LEFT, event.offsetX));
  else pan(event.deltaX, 0);
}, { passive: false });
function moveByMap(event) {
  const time = ((event.offsetX - LEFT) / Math.max(1, map.clientWidth - LEFT - 12)) * end;
  view.from = time - view.span / 2;
  limit(); redraw();
}
map.addEventListener("pointerdown", (event) => { if (event.isTrusted) map.setPointerCapture(event.pointerId); moveByMap(event); });
map.addEventListener("pointermove", (event) => { if (event.buttons) moveByMap(event); });
element("slider").addEventListener("input", () => { setCursor((Number(element("slider").value) / 10000) * end); showAround(cursor); });

const actions = {
  ArrowLeft: () => pan(-80, 0), ArrowRight: () => pan(80, 0), ArrowUp: () => pan(0, -40), ArrowDown: () => pan(0, 40),
  PageUp: () => pan(0, -canvas.clientHeight / 2), PageDown: () => pan(0, canvas.clientHeight / 2),
  Home: () => { setCursor(0); showAround(0); }, End: () => { setCursor(end); showAround(end); },
  "+": () => zoom(0.7), "=": () => zoom(0.7), "-": () => zoom(1.4), 0: fit, w: showWitness, " ": play,
  ",": () => step(-1), ".": () => step(1), n: () => cycle(1), p: () => cycle(-1),
  "/": () => element("search").focus(), k: () => element("key").focus(),
};
document.addEventListener("keydown", (event) => {
  const { tagName, type, id } = event.target;
  if (tagName === "SELECT" || (tagName === "INPUT" && type !== "range")) {
    if (event.key === "Escape") canvas.focus();
    if (event.key === "Enter" && id === "search") cycle(event.shiftKey ? -1 : 1);
    return;
  }
  if (tagName === "INPUT" && event.key.startsWith("Arrow")) return;
  if (tagName === "BUTTON" && (event.key === "Enter" || event.key === " ")) return;
  const action = event.ctrlKey || event.metaKey || event.altKey ? null : actions[event.key];
  if (action) { event.preventDefault(); action(); }
});
