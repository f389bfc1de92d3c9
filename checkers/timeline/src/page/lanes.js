// Drawing of everything but messages: axis, faults, nodes, operations.
const SMALL = "11px system-ui, sans-serif", MONO = "11px ui-monospace, monospace";

// A stripe pattern, for what is down, paused or stands for election.
function hatch(x, y, w, h, style, step = 6) {
  pen.save();
  pen.beginPath(); pen.rect(x, y, w, h); pen.clip();
  pen.strokeStyle = style;
  pen.lineWidth = 1;
  pen.beginPath();
  for (let at = Math.floor((x - h) / step) * step; at < x + w; at += step) { pen.moveTo(at, y + h); pen.lineTo(at + h, y); }
  pen.stroke();
  pen.restore();
}
// Text that ends where its room does.
function write(text, x, y, room, style, font = SMALL) {
  if (room < 16) return;
  pen.save();
  pen.beginPath(); pen.rect(x - 1, y - 9, room, 18); pen.clip();
  pen.fillStyle = style;
  pen.font = font;
  pen.fillText(text, x, y);
  pen.restore();
}

function drawAxis(w, h) {
  const step = 10 ** Math.floor(Math.log10(view.span / 4));
  const grid = [1, 2, 5, 10, 20].map((n) => n * step).find((size) => (size / view.span) * w >= 110) || 50 * step;
  const digits = Math.max(0, Math.min(9, Math.ceil(9 - Math.log10(grid))));
  pen.strokeStyle = colour.line;
  pen.fillStyle = colour.soft;
  pen.font = SMALL;
  pen.lineWidth = 1;
  for (let at = Math.ceil(view.from / grid) * grid; at <= view.from + view.span; at += grid) {
    const x = Math.round(xOf(at)) + 0.5;
    if (x < LEFT || at < -grid / 2) continue;
    pen.beginPath(); pen.moveTo(x, AXIS - 6); pen.lineTo(x, h); pen.stroke();
    pen.fillText(time(at, digits), x + 4, 11);
  }
}

// Faults: a row for each class, and a tint over the lanes that they concern.
function drawFaults(w) {
  pen.fillStyle = colour.paper;
  pen.fillRect(LEFT, AXIS - 2, w, TOP - AXIS);
  pen.fillStyle = colour.line;
  pen.fillRect(LEFT, TOP - 3, w, 1);
  faultClasses.forEach((kind, row) => {
    const y = AXIS + row * FAULT_ROW, shown = faultsOf[kind];
    let wordsUntil = LEFT;
    for (let at = 0; at < shown.length; at++) {
      const fault = shown[at], from = xOf(fault.at), to = fault.end < 0 ? from + 3 : Math.max(from + 3, xOf(fault.end));
      if (to < LEFT || from > w) continue;
      const isSpecial = [hover, picked].some((item) => item?.type === "fault" && item.fault === fault);
      pen.globalAlpha = isSpecial ? 0.85 : 0.42;
      pen.fillStyle = colour.faults[kind];
      pen.fillRect(Math.max(LEFT, from), y + 1, Math.min(w, to) - Math.max(LEFT, from), FAULT_ROW - 3);
      pen.globalAlpha = 1;
      if (from >= LEFT) pen.fillRect(from, y + 1, 2, FAULT_ROW - 3);
    }
    for (let at = 0; at < shown.length; at++) {
      const fault = shown[at], from = xOf(fault.at);
      if (from > w || xOf(Math.max(fault.at, fault.end)) < LEFT) continue;
      // Its words have room until the next one of its class.
      const x = Math.max(LEFT, from) + 5, next = shown.find((other, place) => place > at && xOf(other.at) > x);
      const room = Math.min(w, next ? xOf(next.at) : w) - x - 2;
      if (room < 46 || x < wordsUntil) continue;
      write(fault.text, x, y + FAULT_ROW / 2 - 0.5, room, colour.ink, "10.5px system-ui, sans-serif");
      wordsUntil = x + Math.min(room, pen.measureText(fault.text).width);
    }
  });
}
function tint(lane, y, w) {
  for (const kind of faultClasses) {
    for (const fault of faultsOf[kind]) {
      if (fault.end < 0 || !fault.whom.includes(lane.process)) continue;
      const from = Math.max(LEFT, xOf(fault.at)), to = Math.min(w, xOf(fault.end));
      if (to <= from) continue;
      pen.globalAlpha = 0.13;
      pen.fillStyle = colour.faults[kind];
      pen.fillRect(from, y, to - from, lane.height);
      pen.globalAlpha = 0.8;
      pen.fillRect(from, y, to - from, 2);
      pen.globalAlpha = 1;
    }
  }
}

// What a node was: arrows go behind it, so that its words can be read.
function drawBand(lane, y, w) {
  for (const { from, until, role, epoch, emphasis } of rolesOf[lane.process]) {
    const left = Math.max(LEFT, xOf(from)), right = Math.min(w, xOf(until));
    if (right <= left) continue;
    pen.fillStyle = roleColour(epoch, emphasis);
    pen.fillRect(left, y + 4, Math.max(1, right - left), 15);
    if (emphasis === CHANGING) hatch(left, y + 4, Math.max(1, right - left), 15, colour.paper);
    write(`${role} · ${data.epoch} ${epoch}`, left + 5, y + 12, right - left - 8, emphasis === HIGH ? "#fff" : colour.roleink);
  }
}
function drawNode(lane, y, w) {
  const { process } = lane;
  drawGaps(lane, y + 20, lane.height - 21, w);
  // Progress: a tick each, with its value where there is room.
  const steps = stepsOf[process], timeOfRow = (row) => data.states.t[row];
  pen.fillStyle = colour.progress;
  pen.font = "9.5px system-ui, sans-serif";
  let lastX = -1, lastText = -1;
  for (let at = after(steps, timeOfRow, view.from); at < steps.length; at++) {
    const x = xOf(timeOfRow(steps[at]));
    if (x > w) break;
    if (x < LEFT || x < lastX + 1) continue;
    pen.fillRect(x, y + lane.height - 8, 1.2, 7);
    lastX = x;
    const text = String(progressOf(steps[at])), next = at + 1 < steps.length ? xOf(timeOfRow(steps[at + 1])) : w;
    if (x > lastText + 4 && next - x > text.length * 6 + 6) { pen.fillText(text, x + 3, y + lane.height - 4); lastText = x + text.length * 6; }
  }
}
// Where words of a drawing are already.
let taken = [];
function drawGaps(lane, y, height, w) {
  for (const { from, until, text, isDown } of gapsOf[lane.process]) {
    const left = Math.max(LEFT, xOf(from)), right = Math.min(w, xOf(until));
    if (right <= left) continue;
    pen.globalAlpha = isDown ? 0.3 : 0.16;
    pen.fillStyle = colour.down;
    pen.fillRect(left, y, Math.max(1, right - left), height);
    pen.globalAlpha = 0.55;
    hatch(left, y, Math.max(1, right - left), height, colour.down, isDown ? 5 : 10);
    pen.globalAlpha = 1;
    if (height > 20 && right - left > 40) {
      const label = isDown ? `down: ${text}` : text;
      pen.font = SMALL;
      const room = Math.min(right - left - 8, pen.measureText(label).width + 8);
      pen.fillStyle = colour.paper;
      pen.fillRect(left + 4, y + 3, room, 14);
      write(label, left + 8, y + 10.5, room - 4, colour.ink);
      taken.push([left + 2, y + 2, left + 6 + room, y + 18]);
    }
  }
}

function opColour(row) {
  if (ops.witness[row]) return colour.bad;
  if (ops.ending[row] === 0 || ops.ending[row] === 3) return colour.open;
  if (ops.ending[row] === 4) return colour.line;
  return ops.read[row] ? colour["asks-read"] : colour["asks-write"];
}
// What is not looked for: other than what search found, else other keys than the finding's.
const isDim = (row) => ops.witness[row] === 0 && (hits ? !hits.ops[row] : dimKeys !== null && !ops.keys[row].some((key) => dimKeys[key]));
let drawnOps = 0;
function drawOps(place, y, w) {
  const rows = place.ops, special = [], pointed = hover?.row, chosen = picked?.row;
  const scale = width() / view.span, until = view.from + view.span;
  // What is narrower than a few pixels is drawn together with its neighbours.
  let runFrom = 0, runTo = -1, runColour = null, runIsDim = false;
  const begin = (left, row, dim) => { runFrom = left; runColour = opColour(row); runIsDim = dim; };
  const finish = () => {
    if (runTo > runFrom) {
      pen.fillStyle = runColour;
      pen.globalAlpha = runIsDim ? 0.35 : 0.9;
      pen.fillRect(runFrom, y + 1.5, runTo - runFrom, OP_ROW - 3);
      pen.globalAlpha = 1;
    }
    runTo = -1;
  };
  for (let at = after(rows, (row) => opEnd[row], view.from); at < rows.length; at++) {
    const row = rows[at];
    if (ops.call[row] > until) break;
    drawnOps++;
    if (ops.witness[row] || row === pointed || row === chosen) { special.push(row); continue; }
    if ((opEnd[row] - ops.call[row]) * scale > 3) { finish(); drawOp(row, y, w, hits !== null && hits.ops[row] === 1); continue; }
    const left = xOf(ops.call[row]), right = Math.max(left + 1.5, xOf(opEnd[row])), dim = isDim(row);
    if (runTo < 0 || left > runTo + 0.5) { finish(); begin(left, row, dim); }
    // What is looked for is seen among what is not.
    else if (runIsDim && !dim) { runTo = Math.max(runFrom + 0.5, left); finish(); begin(left, row, dim); }
    else if (!runIsDim && dim && left >= runTo) { finish(); begin(left, row, dim); }
    runTo = Math.max(runTo, right);
  }
  finish();
  for (const row of special) drawOp(row, y, w, true);
}
function drawOp(row, y, w, isSpecial) {
  const from = xOf(ops.call[row]), to = xOf(opEnd[row]), isBad = ops.witness[row] === 1;
  const left = Math.max(LEFT, from), right = Math.min(w, Math.max(to, from + (isBad ? 4 : 1.5)));
  if (right <= left) return;
  pen.globalAlpha = isDim(row) ? 0.35 : 1;
  const isOpen = ops.end[row] < 0 || ops.ending[row] === 3;
  if (right - left > 6 && isOpen) {
    const fade = pen.createLinearGradient(from, 0, Math.max(to, from + 12), 0);
    fade.addColorStop(0, opColour(row));
    fade.addColorStop(1, "transparent");
    pen.fillStyle = fade;
  } else pen.fillStyle = opColour(row);
  pen.fillRect(left, y + 1.5, right - left, OP_ROW - 3);
  if (isPlain && right - left > 6) {
    pen.fillStyle = isBad ? colour.bad : colour.soft;
    if (from >= LEFT) pen.fillRect(left, y + 1.5, 1.5, OP_ROW - 3);
    if (!isOpen && to <= w) pen.fillRect(right - 1.5, y + 1.5, 1.5, OP_ROW - 3);
  }
  if (isSpecial) {
    pen.strokeStyle = isBad ? colour.bad : colour.pick;
    pen.lineWidth = picked?.row === row ? 2.5 : 1.5;
    pen.strokeRect(left, y + 1.5, right - left, OP_ROW - 3);
  }
  const number = ops.op[row] < 0 ? "" : `#${ops.op[row]} `;
  const keys = isPlain && !keyHits && ops.keys[row].length ? `  ⟨${keysOf(row)}⟩` : "";
  if (right - left > 30) write(number + textOf(row) + keys, left + 4, y + OP_ROW / 2 + 0.5, right - left - 6, isBad ? "#fff" : colour.ink, (isBad ? "600 " : "") + "10.5px ui-monospace, monospace");
  if (ops.point[row] >= 0 && right - left > 5) {
    pen.fillStyle = colour.ink;
    pen.beginPath(); pen.arc(Math.min(Math.max(xOf(ops.point[row]), left + 2), right - 2), y + OP_ROW - 5, 2.5, 0, 7); pen.fill();
  }
  pen.globalAlpha = 1;
}
const keysOf = (row) => ops.keys[row].map((key) => data.keys[key]).join(" ");

// From each operation of the witness to the next that was called after it had returned.
function drawPrecedence() {
  pen.strokeStyle = colour.bad;
  pen.lineWidth = 1.2;
  pen.setLineDash([5, 4]);
  for (let at = 1; at < witness.length; at++) {
    const [a, b] = [witness[at - 1], witness[at]], [ya, yb] = [opY(a), opY(b)];
    if (ops.end[a] < 0 || opEnd[a] > ops.call[b] || ya === null || yb === null) continue;
    const [x1, x2] = [xOf(opEnd[a]), xOf(ops.call[b])];
    pen.beginPath(); pen.moveTo(x1, ya); pen.bezierCurveTo((x1 + x2) / 2, ya, (x1 + x2) / 2, yb, x2, yb); pen.stroke();
  }
  pen.setLineDash([]);
}
// The middle of an operation's bar.
function opY(row) {
  const lane = laneOf[laneOfOp(row)];
  return !lane || placeOf[row] < 0 ? null : lane.y + WIRE_ROW + placeOf[row] * OP_ROW + OP_ROW / 2 - view.top;
}

function drawEdges(w, h) {
  pen.fillStyle = colour.paper;
  pen.fillRect(0, 0, LEFT, h);
  pen.save();
  pen.beginPath(); pen.rect(0, TOP - 2, LEFT, h); pen.clip();
  drawNames(h);
  pen.restore();
  faultClasses.forEach((kind, row) => {
    const y = AXIS + row * FAULT_ROW;
    pen.fillStyle = colour.faults[kind];
    pen.fillRect(10, y + 3, 9, FAULT_ROW - 7);
    write(data.fault_classes[kind], 24, y + FAULT_ROW / 2, LEFT - 30, colour.soft);
  });
  pen.fillStyle = colour.paper;
  pen.fillRect(0, 0, w, AXIS - 2);
  drawAxis(w, AXIS - 2);
  pen.fillStyle = colour.line;
  pen.fillRect(LEFT - 1, 0, 1, h);
  pen.fillRect(0, AXIS - 2, w, 1);
}
function drawNames(h) {
  for (const lane of lanes) {
    const y = lane.y - view.top;
    if (y > h || y + lane.height < TOP) continue;
    if (lane.isNode) {
      const [what, detail, style] = nodeNow(lane.process);
      pen.fillStyle = style;
      pen.fillRect(LEFT - 7, y + 4, 4, lane.height - 6);
      write(names[lane.process], 10, y + 12, LEFT - 20, colour.ink, "600 12px system-ui, sans-serif");
      write(what, 10, y + 27, LEFT - 20, what === "down" ? colour.bad : colour.ink);
      write(detail, 10, y + 42, LEFT - 20, colour.soft);
      continue;
    }
    if (!isPlain) write(names[lane.process], 10, lane.wire - view.top + 0.5, LEFT - 20, colour.soft, "600 11px system-ui, sans-serif");
    lane.rows.forEach((place, row) => {
      const label = place.isFirst ? (isPlain ? names[lane.process] : place.label) : isPlain ? "  ⋮" : "";
      write(label, isPlain ? 10 : 22, y + WIRE_ROW + row * OP_ROW + OP_ROW / 2, LEFT - 30, place.isBad ? colour.bad : colour.soft);
    });
  }
}
// What a node is at the cursor, a detail, and the colour of it.
function nodeNow(process) {
  const gap = gapAt(process, cursor), row = stateAt(process, cursor);
  if (gap?.isDown) return ["down", gap.text, colour.bad];
  if (row < 0) {
    const hasStarted = livesOf[process].some(({ at }) => at <= cursor);
    // Who tells no states runs from its start on.
    return [gap ? "paused" : hasStarted ? (statesOf[process].length ? "starting" : "up") : "not started", "", colour.line];
  }
  const [role, epoch, emphasis] = [data.states.role[row], data.states.epoch[row], data.states.emphasis[row]];
  const progress = data.progress < 0 ? "" : ` · ${data.fields[data.progress].name} ${progressOf(row)}`;
  return [`${role}${gap ? ", paused" : ""}`, `${data.epoch} ${epoch}${progress}`, roleColour(epoch, emphasis)];
}

function drawCursor(h) {
  const x = Math.round(xOf(cursor)) + 0.5;
  if (x < LEFT || x > LEFT + width()) return;
  pen.strokeStyle = colour.now;
  pen.lineWidth = 1.5;
  pen.beginPath(); pen.moveTo(x, 4); pen.lineTo(x, h); pen.stroke();
  pen.fillStyle = colour.now;
  pen.beginPath(); pen.moveTo(x - 5, 2); pen.lineTo(x + 5, 2); pen.lineTo(x, 10); pen.fill();
}
