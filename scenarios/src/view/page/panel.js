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
    if (lane.isMember) drawMember(lane, y, w);
    else drawGaps(lane, y, lane.height, w);
  }
  drawMessages(w, h);
  for (const lane of lanes) {
    if (!isSeen(lane)) continue;
    const y = lane.y - view.top;
    if (lane.isMember) drawBand(lane, y, w);
    lane.rows.forEach((place, row) => drawOps(place, y + WIRE_ROW + row * OP_ROW, w));
  }
  drawPickedMessages();
  drawPrecedence();
  if (data.finding) {
    pen.fillStyle = colour.bad;
    pen.fillRect(xOf(end), TOP, 1.5, h);
  }
  pen.restore();
  drawFaults(w);
}

// The whole run: how many messages were sent when, who led, what was found.
const BINS = 600;
const bins = new Float64Array(BINS);
function layOutMap() {
  bins.fill(0);
  for (let i = 0; i < count; i++) if (visible[i]) bins[Math.min(BINS - 1, Math.floor((sent[i] / end) * BINS))]++;
}
const mapX = (time) => LEFT + (time / end) * Math.max(1, map.clientWidth - LEFT - 12);
function drawMap() {
  const [w, h] = prepare(map, mapPen);
  for (const roles of rolesOf) {
    for (const { from, until, role, term } of roles) {
      if (role !== "leader") continue;
      mapPen.fillStyle = roleColour(role, term);
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
  mapPen.fillText("whole run", 10, h / 2);
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

function showPanel() {
  element("at").textContent = time(cursor, 6);
  element("clock").textContent = time(cursor, 4);
  element("slider").value = String(Math.round((cursor / end) * 10000));
  const rows = processes.map((_, process) => process).filter((process) => isMember[process]).map((process) => {
    const line = document.createElement("tr"), row = stateAt(process, cursor), gap = gapAt(process, cursor);
    line.addEventListener("click", () => { logProcess = process; showLog(); });
    const name = cell(processes[process]), is = cell("");
    if (gap?.isDown || row < 0) {
      is.textContent = gap?.isDown ? `down: ${gap.text}` : memberNow(process)[0];
      is.className = gap?.isDown ? "down" : "";
      line.append(name, is, ...["", "", "", ""].map((text) => cell(text)));
      return line;
    }
    const swatch = document.createElement("i");
    swatch.style.background = roleColour(data.states.role[row], data.states.term[row]);
    const leader = data.states.role[row] === "leader" ? "" : data.states.leader[row] ? ` of ${data.states.leader[row]}` : "";
    is.append(swatch, data.states.role[row] + leader + (gap ? ", paused" : ""));
    line.append(name, is, ...["term", "commit", "applied", "last"].map((column) => cell(String(data.states[column][row]))));
    return line;
  });
  element("states").tBodies[0].replaceChildren(...rows);
  const lines = [];
  for (const fault of data.faults) if (fault.end > cursor && fault.at <= cursor) lines.push(line(`⚡ ${fault.text}, until ${time(fault.end)}`));
  for (let row = 0; row < opCount && lines.length <= UNDER_WAY_MAX; row++) {
    if (ops.call[row] > cursor) break;
    if (opEnd[row] > cursor) lines.push(line(`${ops.witness[row] ? "✗" : "…"} client ${ops.client[row]} #${ops.op[row]} ${ops.text[row].split(" → ")[0]}`));
  }
  if (lines.length > UNDER_WAY_MAX) lines.splice(UNDER_WAY_MAX, Infinity, line("and more"));
  element("under-way").replaceChildren(...(lines.length ? lines : [line("no fault and no operation under way", "hint")]));
  showLog();
}

// The lines of a process's log around the cursor.
const LOG_BEFORE = 60, LOG_AFTER = 30;
let logProcess = 0;
function showLog() {
  const log = data.logs[processes[logProcess]], box = element("log");
  element("log-of").value = String(logProcess);
  if (!log?.t.length) { box.replaceChildren(line("it logged nothing", "hint")); return; }
  let low = 0, high = log.t.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (log.t[middle] * 1e3 <= cursor) low = middle + 1; else high = middle;
  }
  const now = low - 1, from = Math.max(0, now - LOG_BEFORE), until = Math.min(log.t.length, low + LOG_AFTER), lines = [];
  if (from === 0 && log.missing) lines.push(line(`(${many(log.missing, "earlier line")} left out)`, "hint"));
  for (let at = from; at < until; at++) {
    const button = document.createElement("button");
    button.textContent = `${(log.t[at] / 1e6).toFixed(6)} ${log.text[at].replace(/^(\w+)\s+veridical_/, "$1 ")}`;
    button.className = `${/^\w+/.exec(log.text[at])?.[0] ?? ""}${at === now ? " now" : ""}${at > now ? " later" : ""}`;
    button.addEventListener("click", () => { setCursor(log.t[at] * 1e3); showAround(cursor); });
    lines.push(button);
  }
  box.replaceChildren(...lines);
  const current = box.querySelector(".now");
  box.scrollTop = current ? current.offsetTop - box.offsetTop - box.clientHeight * 0.6 : 0;
}

function describe(item) {
  if (!item) return "Point at a message, an operation, a fault or a member; click to keep it here.";
  if (item.type === "message") return describeMessage(item.i);
  if (item.type === "fault") {
    const { fault } = item;
    return `${fault.text}\nfault ${fault.id}, at ${time(fault.at, 6)}${fault.end < 0 ? "" : `, for ${duration(fault.end - fault.at)}`}`;
  }
  if (item.type === "op") {
    const { row } = item, endings = ["not ended when the run did", "answered", "refused", "outcome unknown", "without effect"];
    const number = ops.op[row] < 0 ? "" : `#${ops.op[row]} · `;
    return `${number}client ${ops.session[row]}${ops.witness[row] ? " · part of the violation" : ""}\n${ops.text[row]}\n` +
      `called at ${time(ops.call[row], 6)}, ${endings[ops.ending[row]]}${ops.end[row] < 0 ? "" : ` after ${duration(opEnd[row] - ops.call[row])}`}`;
  }
  const row = stateAt(item.process, cursor);
  const state = row < 0 ? "" : `\nlog ${data.states.last[row]}, applied ${data.states.applied[row]}, revision ${data.states.revision[row]}`;
  const incidents = data.incidents.filter(([at, process]) => process === item.process && Math.abs(at - cursor) < view.span / 40);
  return `${processes[item.process]}: ${memberNow(item.process).slice(0, 2).join(", ")}${state}` +
    incidents.slice(-6).map(([at, , text]) => `\n${time(at, 6)} ${text}`).join("");
}
