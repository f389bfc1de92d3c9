// Messages: arrows from where and when they were sent to where and when they arrived. Few are
// drawn one by one, with heads and words; of many, one line for all that fall together.
const NONE = 0xffff, FINE_MAX = 2500, WORDS_MAX = 120, COARSE_PX = 3, SLANTED_BATCH = 200;
let list = new Int32Array(count), listed = 0, drawn = 0;

// The messages in the window, in the order of their sending.
function listMessages() {
  listed = 0;
  const { from } = view, until = from + view.span;
  for (let block = 0; block < blockEnd.length; block++) {
    const first = block * BLOCK;
    if (sent[first] > until) break;
    if (blockEnd[block] < from) continue;
    const last = Math.min(first + BLOCK, count);
    for (let i = first; i < last; i++) {
      if (visible[i] && sent[i] <= until && lastAt[i] >= from) list[listed++] = i;
    }
  }
}

// Both ends of an arrow. What did not arrive ends on the way.
function arrow(i) {
  const x1 = xOf(sent[i]), x2 = xOf(lastAt[i]);
  const y1 = laneOf[sender[i]].wire - view.top, y2 = laneOf[receiver[i]].wire - view.top;
  const part = fate[i] === DELIVERED || fate[i] === UNHEARD ? 1 : 0.36;
  return [x1, y1, fate[i] === LOST || fate[i] === OPEN ? x1 + (x2 - x1) * part : x2, y1 + (y2 - y1) * part];
}

function drawMessages(w, h) {
  listMessages();
  drawn = 0;
  if (listed <= FINE_MAX) drawFine(w, h); else drawCoarse(w);
}

function drawFine(w, h) {
  const paths = groups.map(() => new Path2D()), lost = new Path2D(), crosses = new Path2D(), heads = groups.map(() => new Path2D());
  const hasHeads = listed < 900;
  for (let at = 0; at < listed; at++) {
    const i = list[at], [x1, y1, x2, y2] = arrow(i);
    drawn++;
    if (fate[i] === DELIVERED) {
      const path = paths[group[i]];
      path.moveTo(x1, y1); path.lineTo(x2, y2);
      if (hasHeads) head(heads[group[i]], x1, y1, x2, y2);
    } else {
      lost.moveTo(x1, y1); lost.lineTo(x2, y2);
      if (fate[i] !== OPEN) { crosses.moveTo(x2 - 3, y2 - 3); crosses.lineTo(x2 + 3, y2 + 3); crosses.moveTo(x2 - 3, y2 + 3); crosses.lineTo(x2 + 3, y2 - 3); }
    }
  }
  const weight = listed < 300 ? 1.4 : 1;
  pen.lineWidth = weight;
  // The quiet groups first, so that what tells most is on top.
  for (let at = groups.length - 1; at >= 0; at--) {
    pen.strokeStyle = pen.fillStyle = colour.groups[at];
    pen.globalAlpha = listed < 300 ? 0.9 : 0.65;
    pen.stroke(paths[at]);
    pen.fill(heads[at]);
  }
  pen.globalAlpha = 0.75;
  pen.strokeStyle = colour.bad;
  pen.setLineDash([3, 3]);
  pen.stroke(lost);
  pen.setLineDash([]);
  pen.globalAlpha = 1;
  pen.lineWidth = 1.4;
  pen.stroke(crosses);
  if (listed <= WORDS_MAX) drawWords(w, h);
}
function head(path, x1, y1, x2, y2) {
  const length = Math.hypot(x2 - x1, y2 - y1) || 1, [dx, dy] = [(x2 - x1) / length, (y2 - y1) / length];
  path.moveTo(x2, y2);
  path.lineTo(x2 - dx * 7 - dy * 3, y2 - dy * 7 + dx * 3);
  path.lineTo(x2 - dx * 7 + dy * 3, y2 - dy * 7 - dx * 3);
}

// Names of messages along their arrows, where there is room.
function drawWords(w, h) {
  pen.font = "10px system-ui, sans-serif";
  pen.lineJoin = "round";
  for (let at = 0; at < listed; at++) {
    const i = list[at], [x1, y1, x2, y2] = arrow(i), text = nameOf(i);
    const room = pen.measureText(text).width, x = x1 + (x2 - x1) * 0.3 + 4, y = y1 + (y2 - y1) * 0.3;
    const box = [x - 2, y - 7, x + room + 2, y + 7];
    // Not over what is drawn on top: bands of nodes, operations.
    const crowded = lanes.some((lane) => {
      const below = y - lane.y + view.top;
      return lane.isNode ? below > -4 && below < 25 : below > WIRE_ROW - 6 && below < lane.height + 4 && lane.rows.length > 0;
    });
    if (x < LEFT || x + room > w || y < TOP || y > h || crowded || taken.some((other) => box[0] < other[2] && other[0] < box[2] && box[1] < other[3] && other[1] < box[3])) continue;
    taken.push(box);
    pen.strokeStyle = colour.paper;
    pen.lineWidth = 3;
    pen.strokeText(text, x, y);
    pen.fillStyle = fate[i] === DELIVERED ? colour.groups[group[i]] : colour.bad;
    pen.fillText(text, x, y);
  }
}

// One line for all messages of a link that begin within a few pixels.
function drawCoarse(w) {
  const columns = Math.ceil(w / COARSE_PX) + 2, places = names.length;
  const best = new Uint16Array(places * places * columns).fill(NONE), example = new Int32Array(best.length);
  const { from } = view, scale = width() / view.span / COARSE_PX;
  for (let at = 0; at < listed; at++) {
    const i = list[at], column = Math.max(0, Math.min(columns - 1, Math.floor((sent[i] - from) * scale) + 1));
    const place = (sender[i] * places + receiver[i]) * columns + column;
    // What was lost is seen among what was not.
    const rank = fate[i] > DELIVERED ? 0 : 1 + group[i];
    if (rank < best[place]) { best[place] = rank; example[place] = i; }
  }
  // The quiet groups first, what was lost last. A line that is nearly upright is a rectangle:
  // of thousands of lines these are drawn at once.
  const byRank = Array.from({ length: groups.length + 1 }, () => []);
  for (let place = 0; place < best.length; place++) if (best[place] !== NONE) byRank[best[place]].push(example[place]);
  for (let rank = groups.length; rank >= 0; rank--) {
    pen.fillStyle = pen.strokeStyle = rank ? colour.groups[rank - 1] : colour.bad;
    pen.globalAlpha = rank === 0 ? 0.6 : groups[rank - 1].quiet ? 0.3 : 0.45;
    let slanted = 0;
    pen.lineWidth = 1;
    pen.beginPath();
    for (const i of byRank[rank]) {
      const [x1, y1, x2, y2] = arrow(i);
      drawn++;
      if (Math.abs(x2 - x1) < 2) { pen.fillRect(x1, Math.min(y1, y2), 1, Math.abs(y2 - y1)); continue; }
      pen.moveTo(x1, y1); pen.lineTo(x2, y2);
      if (++slanted % SLANTED_BATCH === 0) { pen.stroke(); pen.beginPath(); }
    }
    pen.stroke();
  }
  pen.globalAlpha = 1;
}

// What a message is called: its parts, each name once.
function nameOf(i) {
  const times = new Map();
  for (let part = partFrom[i]; part < partFrom[i + 1]; part++) {
    const { name } = data.kinds[partKind[part]];
    times.set(name, (times.get(name) || 0) + 1);
  }
  const text = [...times].map(([name, times]) => (times > 1 ? `${name} ×${times}` : name)).join(", ");
  return (text || "bytes") + (data.messages.more[i] ? ", …" : "");
}
const FATES = ["under way at the end, or gone with its connection", "arrived", "lost", "lost: the link is cut", "not heard: the receiver is down, or knows no such connection"];
function describeMessage(i) {
  const flags = [data.messages.flags[i] & 1 ? "second copy" : "", data.messages.flags[i] & 2 ? "corrupted" : ""].filter(Boolean);
  const bytes = data.messages.bytes[i] ? ` · ${data.messages.bytes[i]} bytes` : "";
  const lines = [`${names[sender[i]]} → ${names[receiver[i]]}${bytes}${flags.map((flag) => " · " + flag).join("")}`,
    `sent at ${time(sent[i], 6)}, ${FATES[fate[i]]}${ended[i] < 0 ? "" : ` after ${duration(ended[i] - sent[i])}`}`];
  for (let part = partFrom[i]; part < partFrom[i + 1]; part++) {
    const { name, fields } = data.kinds[partKind[part]];
    const numbers = fields.map((field, at) => `${field.replace("_", " ")} ${data.parts.numbers[numberFrom[part] + at]}`);
    const keys = [];
    for (let key = keyFrom[part]; key < keyFrom[part + 1]; key++) keys.push(data.keys[data.parts.keys[key]]);
    lines.push(`${name}${numbers.length ? `: ${numbers.join(", ")}` : ""}${keys.length ? ` · ${keys.join(" ")}` : ""}`);
  }
  if (data.messages.more[i]) lines.push(`and ${many(data.messages.more[i], "part")} more`);
  return lines.join("\n");
}

// The message whose arrow is nearest to a place, within a few pixels.
function messageAt(x, y) {
  if (listed > FINE_MAX) return -1;
  let nearest = -1, least = 25;
  for (let at = 0; at < listed; at++) {
    const [x1, y1, x2, y2] = arrow(list[at]), [dx, dy] = [x2 - x1, y2 - y1];
    const part = Math.max(0, Math.min(1, ((x - x1) * dx + (y - y1) * dy) / (dx * dx + dy * dy || 1)));
    const distance = (x1 + part * dx - x) ** 2 + (y1 + part * dy - y) ** 2;
    if (distance < least) { least = distance; nearest = list[at]; }
  }
  return nearest;
}
function drawPickedMessages() {
  for (const item of [hover, picked]) {
    if (item?.type !== "message" || !visible[item.i]) continue;
    const [x1, y1, x2, y2] = arrow(item.i);
    pen.strokeStyle = pen.fillStyle = colour.pick;
    pen.lineWidth = 2.5;
    pen.beginPath(); pen.moveTo(x1, y1); pen.lineTo(x2, y2); pen.stroke();
    const path = new Path2D();
    head(path, x1, y1, x2, y2);
    pen.fill(path);
  }
}
