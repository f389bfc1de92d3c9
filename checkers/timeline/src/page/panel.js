// The whole drawing, the overview, and the panel: how everything was at the cursor.
// All but the cursor and what it changes is kept as a picture: to scrub is to draw that again.
const scene = document.createElement("canvas"), scenePen = scene.getContext("2d");
let sceneIsOld = true;
function draw() {
  measure();
  const [w, h] = prepare(canvas, pen);
  if (sceneIsOld || scene.width !== canvas.width || scene.height !== canvas.height) {
    drawScene(w, h);
    Object.assign(scene, { width: canvas.width, height: canvas.height });
    scenePen.drawImage(canvas, 0, 0);
    sceneIsOld = false;
  } else pen.drawImage(scene, 0, 0, w, h);
  drawEdges(w, h);
  drawCursor(h);
  drawMap();
}
function drawScene(w, h) {
  taken = [];
  drawnOps = 0;
  const isSeen = (lane) => lane.y - view.top < h && lane.y + lane.height - view.top > TOP;
  lanes.forEach((lane, at) => {
    if (!isSeen(lane) || at % 2) return;
    pen.fillStyle = colour.band;
    pen.fillRect(0, lane.y - view.top, w, lane.height);
  });
  drawAxis(w, h);
  pen.save();
  pen.beginPath(); pen.rect(LEFT, TOP - 2, w - LEFT, h); pen.clip();
  for (const lane of lanes) {
    if (!isSeen(lane)) continue;
    const y = lane.y - view.top;
    tint(lane, y, w);
    if (isPlain) continue;
    pen.fillStyle = colour.line;
    pen.fillRect(LEFT, lane.wire - view.top, w - LEFT, 1);
  }
  for (const row of witness) {
    pen.globalAlpha = 0.07;
    pen.fillStyle = colour.bad;
    pen.fillRect(xOf(ops.call[row]), TOP, Math.max(1, xOf(opEnd[row]) - xOf(ops.call[row])), h);
    pen.globalAlpha = 1;
  }
  for (const lane of lanes) {
    if (!isSeen(lane)) continue;
    const y = lane.y - view.top;
    if (lane.isNode) drawNode(lane, y, w);
    else drawGaps(lane, y, lane.height, w);
  }
  drawMessages(w, h);
  for (const lane of lanes) {
    if (!isSeen(lane)) continue;
    const y = lane.y - view.top;
    if (lane.isNode) drawBand(lane, y, w);
    lane.rows.forEach((place, row) => drawOps(place, y + WIRE_ROW + row * OP_ROW, w));
  }
  drawPickedMessages();
  drawPrecedence();
  if (data.finding && !isPlain) {
    pen.fillStyle = colour.bad;
    pen.fillRect(xOf(end), TOP, 1.5, h);
  }
  pen.restore();
  drawFaults(w);
}

// All of it: how many messages were sent, or operations called, when; who led; what was found.
const BINS = 600;
const bins = new Float64Array(BINS);
function layOutMap() {
  bins.fill(0);
  const add = (at) => { bins[Math.min(BINS - 1, Math.floor((at / end) * BINS))]++; };
  for (let i = 0; i < count; i++) if (visible[i]) add(sent[i]);
  if (count === 0) for (let row = 0; row < opCount; row++) if (placeOf[row] >= 0) add(ops.call[row]);
}
const mapX = (time) => LEFT + (time / end) * Math.max(1, map.clientWidth - LEFT - 12);
function drawMap() {
  const [w, h] = prepare(map, mapPen);
  for (const roles of rolesOf) {
    for (const { from, until, epoch, emphasis } of roles) {
      if (emphasis !== HIGH) continue;
      mapPen.fillStyle = roleColour(epoch, emphasis);
      mapPen.fillRect(mapX(from), h - 5, Math.max(1, mapX(until) - mapX(from)), 4);
    }
  }
  const most = bins.reduce((a, b) => Math.max(a, b), 1), step = mapX(end / BINS) - mapX(0);
  mapPen.fillStyle = colour["asks-read"];
  for (let bin = 0; bin < BINS; bin++) {
    const height = Math.sqrt(bins[bin] / most) * (h - 12);
    mapPen.fillRect(mapX((bin / BINS) * end), h - 6 - height, step + 0.3, height);
  }
  mapPen.fillStyle = colour.soft;
  mapPen.font = SMALL;
  mapPen.fillText("overview", 10, h / 2);
  mapPen.fillStyle = colour.pick;
  let last = -1;
  for (const { at } of hits?.stops ?? []) {
    const x = Math.round(mapX(at));
    if (x !== last) mapPen.fillRect(x, 0, 1, 5);
    last = x;
  }
  mapPen.fillStyle = colour.bad;
  for (const row of witness) mapPen.fillRect(mapX(ops.call[row]) - 1, 0, 2.5, h);
  mapPen.fillStyle = colour.now;
  mapPen.fillRect(mapX(cursor) - 0.5, 0, 1.5, h);
  const left = mapX(Math.max(0, view.from)), right = mapX(Math.min(end, view.from + view.span));
  mapPen.strokeStyle = colour.ink;
  mapPen.lineWidth = 1.5;
  mapPen.strokeRect(left - 1, 1, Math.max(4, right - left) + 2, h - 2);
}

const cell = (text, className = "") => Object.assign(document.createElement("td"), { textContent: text, className });
function line(text, className = "") { return Object.assign(document.createElement("div"), { textContent: text, className }); }
const UNDER_WAY_MAX = 12;

// The columns of the table of nodes, behind its name and what it is.
const tableFields = data.fields.map((_, field) => field).filter((field) => data.fields[field].table);
function showPanel() {
  element("at").textContent = time(cursor, 6);
  element("clock").textContent = time(cursor, 4);
  element("slider").value = String(Math.round((cursor / end) * 10000));
  const nodes = names.map((_, process) => process).filter((process) => isNode[process]);
  element("states").tBodies[0].replaceChildren(...nodes.map(nodeRow));
  const lines = [];
  for (const fault of data.faults) if (fault.end > cursor && fault.at <= cursor) lines.push(line(`⚡ ${fault.text}, until ${time(fault.end)}`));
  for (let row = 0; row < opCount && lines.length <= UNDER_WAY_MAX; row++) {
    if (ops.call[row] > cursor) break;
    if (opEnd[row] > cursor) lines.push(line(`${ops.witness[row] ? "✗" : "…"} ${data.tracks[ops.track[row]].label}${ops.op[row] < 0 ? "" : ` #${ops.op[row]}`} ${textOf(row).split(" → ")[0]}`));
  }
  if (lines.length > UNDER_WAY_MAX) lines.splice(UNDER_WAY_MAX, Infinity, line("and more"));
  element("under-way").replaceChildren(...(lines.length ? lines : [line("nothing under way", "hint")]));
  showLog();
}
function nodeRow(process) {
  const tr = document.createElement("tr"), row = stateAt(process, cursor), gap = gapAt(process, cursor);
  tr.addEventListener("click", () => { logProcess = process; showLog(); });
  const name = cell(names[process]), is = cell("");
  if (gap?.isDown || row < 0) {
    is.textContent = gap?.isDown ? `down: ${gap.text}` : nodeNow(process)[0];
    is.className = gap?.isDown ? "down" : "";
    tr.append(name, is, cell(""), ...tableFields.map(() => cell("")));
    return tr;
  }
  const swatch = document.createElement("i"), { role, epoch, emphasis, detail } = data.states;
  swatch.style.background = roleColour(epoch[row], emphasis[row]);
  is.append(swatch, `${role[row]}${detail[row] ? ` ${detail[row]}` : ""}${gap ? ", paused" : ""}`);
  tr.append(name, is, cell(String(epoch[row])), ...tableFields.map((field) => cell(String(valueOf(row, field)))));
  return tr;
}

// The lines of a process's log around the cursor.
const LOG_BEFORE = 60, LOG_AFTER = 30;
let logProcess = 0;
function showLog() {
  const log = data.logs[logProcess], box = element("log");
  element("log-of").value = String(logProcess);
  if (!log?.t.length) { box.replaceChildren(line("it logged nothing", "hint")); return; }
  let low = 0, high = log.t.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (log.t[middle] <= cursor) low = middle + 1; else high = middle;
  }
  const now = low - 1, from = Math.max(0, now - LOG_BEFORE), until = Math.min(log.t.length, low + LOG_AFTER), lines = [];
  if (from === 0 && log.missing) lines.push(line(`(${many(log.missing, "earlier line")} left out)`, "hint"));
  for (let at = from; at < until; at++) {
    const button = document.createElement("button");
    button.textContent = `${(log.t[at] / 1e9).toFixed(6)} ${log.text[at]}`;
    button.className = `${/^\w+/.exec(log.text[at])?.[0] ?? ""}${at === now ? " now" : ""}${at > now ? " later" : ""}`;
    button.addEventListener("click", () => { setCursor(log.t[at]); showAround(cursor); });
    lines.push(button);
  }
  box.replaceChildren(...lines);
  const current = box.querySelector(".now");
  box.scrollTop = current ? current.offsetTop - box.offsetTop - box.clientHeight * 0.6 : 0;
}

function describe(item) {
  if (!item) return isPlain ? "Point at an operation, or click it to keep it here." : "Point at a message, an operation, a fault or a node; click to keep it here.";
  if (item.type === "message") return describeMessage(item.i);
  if (item.type === "fault") {
    const { fault } = item;
    return `${fault.text}\nfault ${fault.id}, at ${time(fault.at, 6)}${fault.end < 0 ? "" : `, for ${duration(fault.end - fault.at)}`}`;
  }
  if (item.type === "op") return describeOp(item.row);
  const row = stateAt(item.process, cursor);
  const state = row < 0 || !fieldCount ? "" : "\n" + data.fields.map(({ name }, field) => `${name} ${valueOf(row, field)}`).join(", ");
  const notes = data.notes.filter(([at, process]) => process === item.process && Math.abs(at - cursor) < view.span / 40);
  const now = isNode[item.process] ? `: ${nodeNow(item.process).slice(0, 2).join(", ")}` : "";
  return `${names[item.process]}${now}${state}` + notes.slice(-6).map(([at, , text]) => `\n${time(at, 6)} ${text}`).join("");
}
const ENDINGS = ["not ended at the end", "answered", "refused", "outcome unknown", "without effect"];
function describeOp(row) {
  const number = ops.op[row] < 0 ? "" : `#${ops.op[row]} · `, keys = ops.keys[row].length ? ` · key ${keysOf(row)}` : "";
  const ended = ops.end[row] < 0 ? "" : ` at ${time(opEnd[row], 6)}, after ${duration(opEnd[row] - ops.call[row])}`;
  const point = ops.point[row] < 0 ? "" : ` · can have taken effect at ${time(ops.point[row], 6)}`;
  return `${number}client ${ops.client[row]}${keys}${ops.witness[row] ? " · part of the violation" : ""}\n${textOf(row)}\n` +
    `called at ${time(ops.call[row], 6)}, ${ENDINGS[ops.ending[row]]}${ended}${point}`;
}
