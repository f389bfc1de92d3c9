// Drawing of everything but messages: axis, faults, members, operations.
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
  faultClasses.forEach((name, row) => {
    const y = AXIS + row * FAULT_ROW, shown = faultsOf[name];
    let wordsUntil = LEFT;
    for (let at = 0; at < shown.length; at++) {
      const fault = shown[at], from = xOf(fault.at), to = fault.end < 0 ? from + 3 : Math.max(from + 3, xOf(fault.end));
      if (to < LEFT || from > w) continue;
      const isSpecial = [hover, picked].some((item) => item?.type === "fault" && item.fault === fault);
      pen.globalAlpha = isSpecial ? 0.85 : 0.42;
      pen.fillStyle = colour[name];
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
  for (const name of faultClasses) {
    for (const fault of faultsOf[name]) {
      if (fault.end < 0 || !fault.whom.includes(lane.process)) continue;
      const from = Math.max(LEFT, xOf(fault.at)), to = Math.min(w, xOf(fault.end));
      if (to <= from) continue;
      pen.globalAlpha = 0.13;
      pen.fillStyle = colour[name];
      pen.fillRect(from, y, to - from, lane.height);
      pen.globalAlpha = 0.8;
      pen.fillRect(from, y, to - from, 2);
      pen.globalAlpha = 1;
    }
  }
}

// What a member was: arrows go behind it, so that its words can be read.
function drawBand(lane, y, w) {
  for (const { from, until, role, term } of rolesOf[lane.process]) {
    const left = Math.max(LEFT, xOf(from)), right = Math.min(w, xOf(until));
    if (right <= left) continue;
    pen.fillStyle = roleColour(role, term);
    pen.fillRect(left, y + 4, Math.max(1, right - left), 15);
    if (/candidate/.test(role)) hatch(left, y + 4, Math.max(1, right - left), 15, colour.paper);
    write(`${role} · term ${term}`, left + 5, y + 12, right - left - 8, role === "leader" ? "#fff" : colour.roleink);
  }
}
function drawMember(lane, y, w) {
  const { process } = lane;
  drawGaps(lane, y + 20, lane.height - 21, w);
  // Commits: a tick each, with its index where there is room.
  const commits = commitsOf[process], valueOf = (row) => data.states.t[row];
  pen.fillStyle = colour.commit;
  pen.font = "9.5px system-ui, sans-serif";
  let lastX = -1, lastText = -1;
  for (let at = after(commits, valueOf, view.from); at < commits.length; at++) {
    const x = xOf(valueOf(commits[at]));
    if (x > w) break;
    if (x < LEFT || x < lastX + 1) continue;
    pen.fillRect(x, y + lane.height - 8, 1.2, 7);
    lastX = x;
    const text = String(data.states.commit[commits[at]]), next = at + 1 < commits.length ? xOf(valueOf(commits[at + 1])) : w;
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
function drawOps(place, y, w) {
  const rows = place.ops, special = [], pointed = hover?.row, chosen = picked?.row;
  let runTo = -1;
  for (let at = after(rows, (row) => opEnd[row], view.from); at < rows.length; at++) {
    const row = rows[at], from = xOf(ops.call[row]), to = xOf(opEnd[row]);
    if (from > w) break;
    if (ops.witness[row] || row === pointed || row === chosen || hits?.ops[row]) { special.push(row); continue; }
    // What falls on the same pixel is drawn once.
    if (to < runTo + 0.5) continue;
    drawOp(row, y, w, false);
    runTo = Math.max(runTo, to);
  }
  for (const row of special) drawOp(row, y, w, true);
}
function drawOp(row, y, w, isSpecial) {
  const from = xOf(ops.call[row]), to = xOf(opEnd[row]);
  const left = Math.max(LEFT, from), right = Math.min(w, Math.max(to, from + (ops.witness[row] ? 4 : 1.5)));
  if (right <= left) return;
  pen.globalAlpha = hits && !hits.ops[row] && !ops.witness[row] ? 0.35 : 1;
  if (right - left > 6 && (ops.end[row] < 0 || ops.ending[row] === 3)) {
    const fade = pen.createLinearGradient(from, 0, Math.max(to, from + 12), 0);
    fade.addColorStop(0, opColour(row));
    fade.addColorStop(1, "transparent");
    pen.fillStyle = fade;
  } else pen.fillStyle = opColour(row);
  pen.fillRect(left, y + 1.5, right - left, OP_ROW - 3);
  if (isSpecial) {
    pen.strokeStyle = ops.witness[row] ? colour.bad : colour.pick;
    pen.lineWidth = picked?.row === row ? 2.5 : 1.5;
    pen.strokeRect(left, y + 1.5, right - left, OP_ROW - 3);
  }
  const op = ops.op[row] < 0 ? "" : `#${ops.op[row]} `;
  if (right - left > 30) write(op + ops.text[row], left + 4, y + OP_ROW / 2 + 0.5, right - left - 6, ops.witness[row] ? "#fff" : colour.ink, (ops.witness[row] ? "600 " : "") + "10.5px ui-monospace, monospace");
  pen.globalAlpha = 1;
}

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
  const lane = laneOf[ops.process[row]];
  const place = lane ? lane.rows.findIndex((place) => place.ops.includes(row)) : -1;
  return place < 0 ? null : lane.y + WIRE_ROW + place * OP_ROW + OP_ROW / 2 - view.top;
}

function drawEdges(w, h) {
  pen.fillStyle = colour.paper;
  pen.fillRect(0, 0, LEFT, h);
  pen.save();
  pen.beginPath(); pen.rect(0, TOP - 2, LEFT, h); pen.clip();
  drawNames(h);
  pen.restore();
  faultClasses.forEach((name, row) => {
    const y = AXIS + row * FAULT_ROW;
    pen.fillStyle = colour[name];
    pen.fillRect(10, y + 3, 9, FAULT_ROW - 7);
    write(name, 24, y + FAULT_ROW / 2, LEFT - 30, colour.soft);
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
    if (lane.isMember) {
      const [what, detail, style] = memberNow(lane.process);
      pen.fillStyle = style;
      pen.fillRect(LEFT - 7, y + 4, 4, lane.height - 6);
      write(processes[lane.process], 10, y + 12, LEFT - 20, colour.ink, "600 12px system-ui, sans-serif");
      write(what, 10, y + 27, LEFT - 20, what === "down" ? colour.bad : colour.ink);
      write(detail, 10, y + 42, LEFT - 20, colour.soft);
    } else {
      write(processes[lane.process], 10, lane.wire - view.top + 0.5, LEFT - 20, colour.soft, "600 11px system-ui, sans-serif");
      lane.rows.forEach((place, row) => {
        const isBad = place.ops.some((op) => ops.witness[op]);
        if (place.isFirst) write(/^watcher/.test(processes[lane.process]) ? "watch" : processes[lane.process] === "probe" ? "writes" : `client ${place.client}`, 22, y + WIRE_ROW + row * OP_ROW + OP_ROW / 2, LEFT - 30, isBad ? colour.bad : colour.soft);
      });
    }
  }
}
function memberNow(process) {
  const gap = gapAt(process, cursor), row = stateAt(process, cursor);
  if (gap?.isDown) return ["down", gap.text, colour.bad];
  if (row < 0) return [gap ? "paused" : livesOf[process].some(({ at }) => at <= cursor) ? "starting" : "not started", "", colour.line];
  const [role, term] = [data.states.role[row], data.states.term[row]];
  const text = `${role}${gap ? ", paused" : ""}`;
  return [text, `term ${term} · commit ${data.states.commit[row]}`, roleColour(role, term)];
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
