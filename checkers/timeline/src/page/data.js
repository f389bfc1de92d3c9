"use strict";
// The data of the page as typed columns, and what is looked up in them. Times are nanoseconds
// since the origin of the timeline.
const begun = performance.now();
const data = JSON.parse(document.getElementById("data").textContent);
const element = (id) => document.getElementById(id);
const end = Math.max(1, data.end);
const names = data.lanes.map((lane) => lane.name), isNode = data.lanes.map((lane) => lane.node);

// Groups of messages by how much they tell: a message with parts of several groups has the
// colour of the first of them.
const groups = data.groups.length ? data.groups : [{ name: "message", quiet: false }];
const OPEN = 0, DELIVERED = 1, LOST = 2, CUT = 3, UNHEARD = 4;

const count = data.messages.sent.length;
const sent = new Float64Array(count), ended = new Float64Array(count);
const sender = Uint32Array.from(data.messages.from), receiver = Uint32Array.from(data.messages.to);
const fate = Uint8Array.from(data.messages.fate), group = new Uint16Array(count);
const partFrom = new Uint32Array(count + 1), partCount = data.parts.kind.length;
const kindGroup = data.kinds.map((kind) => kind.group);
const partKind = Uint32Array.from(data.parts.kind);
const numberFrom = new Uint32Array(partCount + 1), keyFrom = new Uint32Array(partCount + 1);
for (let part = 0; part < partCount; part++) {
  numberFrom[part + 1] = numberFrom[part] + data.kinds[partKind[part]].fields.length;
  keyFrom[part + 1] = keyFrom[part] + data.parts.key_count[part];
}
let clockNs = 0;
for (let i = 0; i < count; i++) {
  clockNs += data.messages.sent[i];
  sent[i] = clockNs;
  ended[i] = data.messages.flight[i] < 0 ? -1 : clockNs + data.messages.flight[i];
  partFrom[i + 1] = partFrom[i] + data.messages.parts[i];
  let best = groups.length - 1;
  for (let part = partFrom[i]; part < partFrom[i + 1]; part++) best = Math.min(best, kindGroup[partKind[part]]);
  group[i] = best;
}
// How far a message of open fate is drawn, in ns: nobody knows where it ended.
const OPEN_NS = 4e6;
const lastAt = Float64Array.from(ended, (at, i) => (at < 0 ? sent[i] + OPEN_NS : at));

// When the last message of each block ended: what is over before the window is skipped.
const BLOCK = 256;
const blockEnd = new Float64Array(Math.ceil(count / BLOCK));
for (let i = 0; i < count; i++) blockEnd[(i / BLOCK) | 0] = Math.max(blockEnd[(i / BLOCK) | 0], lastAt[i]);

// The first place whose value is above `value`, in a sorted list of places.
function after(places, valueOf, value) {
  let low = 0, high = places.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (valueOf(places[middle]) <= value) low = middle + 1; else high = middle;
  }
  return low;
}

// States and lives by process, which is the number of its lane.
const fieldCount = data.fields.length;
const valueOf = (row, field) => data.states.values[row * fieldCount + field];
const progressOf = (row) => (data.progress < 0 ? 0 : valueOf(row, data.progress));
const statesOf = names.map(() => []);
for (let row = 0; row < data.states.t.length; row++) statesOf[data.states.lane[row]].push(row);
const STARTED = 0, PAUSED = 1, RESUMED = 2;
const livesOf = names.map(() => []);
for (const [at, process, turn, words] of data.lives) livesOf[process].push({ at, turn, words });

// Stretches of a process's life during which it was down, or paused.
const gapsOf = livesOf.map((lives) => {
  const gaps = [];
  let down = null, paused = null;
  const close = (gap, until) => { if (gap) gaps.push({ ...gap, until }); };
  for (const { at, turn, words } of lives) {
    if (turn === STARTED) { close(down, at); down = null; }
    else if (turn === PAUSED) paused ??= { from: at, text: "paused", isDown: false };
    else if (turn === RESUMED) { close(paused, at); paused = null; }
    else { close(paused, at); paused = null; down ??= { from: at, text: words, isDown: true }; }
  }
  close(down, end);
  close(paused, end);
  return gaps.sort((a, b) => a.from - b.from);
});
const gapAt = (process, time) => gapsOf[process].find((gap) => gap.from <= time && time < gap.until);

// What a node is from one change of its role or epoch to the next, or until it is down.
const rolesOf = statesOf.map((rows, process) => {
  const roles = [];
  const downs = gapsOf[process].filter((gap) => gap.isDown);
  for (let at = 0; at < rows.length; at++) {
    const row = rows[at], last = roles[roles.length - 1], next = at + 1 < rows.length ? data.states.t[rows[at + 1]] : end;
    const down = downs.find((gap) => gap.from >= data.states.t[row]);
    const until = Math.min(next, down ? down.from : end);
    const [role, epoch, emphasis] = [data.states.role[row], data.states.epoch[row], data.states.emphasis[row]];
    if (last && last.role === role && last.epoch === epoch && last.until >= data.states.t[row]) last.until = until;
    else roles.push({ from: data.states.t[row], until, role, epoch, emphasis });
  }
  return roles;
});
// When a node made progress.
const stepsOf = statesOf.map((rows) => {
  const steps = [];
  let last = 0;
  for (const row of rows) {
    if (progressOf(row) > last) steps.push(row);
    last = progressOf(row);
  }
  return steps;
});
// The row of what a node was at a time; −1 if it has not said so since it started.
function stateAt(process, time) {
  const rows = statesOf[process], row = rows[after(rows, (row) => data.states.t[row], time) - 1] ?? -1;
  const started = livesOf[process].findLast(({ at, turn }) => turn === STARTED && at <= time);
  return row >= 0 && (!started || data.states.t[row] >= started.at) ? row : -1;
}

// Operations.
const ops = data.operations, opCount = ops.call.length;
const textOf = (row) => data.texts[ops.text[row]];
const laneOfOp = (row) => data.tracks[ops.track[row]].lane;
const opsOfTrack = data.tracks.map(() => []);
for (let row = 0; row < opCount; row++) opsOfTrack[ops.track[row]].push(row);
// Nobody knows when an operation without an end ended: its bar fades out until the next call
// of its client.
const opEnd = Float64Array.from(ops.end);
for (const rows of opsOfTrack) {
  const next = new Map();
  for (let at = rows.length - 1; at >= 0; at--) {
    const row = rows[at], client = ops.client[row];
    if (opEnd[row] < 0) opEnd[row] = Math.max(next.get(client) ?? end, ops.call[row]);
    next.set(client, ops.call[row]);
  }
}
const witness = [];
for (let row = 0; row < opCount; row++) if (ops.witness[row]) witness.push(row);
// Of what contradicts each other, the last to end is what could not be.
witness.sort((a, b) => ops.call[a] - ops.call[b]);

// Whether a key, or a range of keys, holds another key.
function covers(text, key) {
  if (text === key) return true;
  const range = /^\[(.*), (.*)\)$/.exec(text);
  return range !== null && key >= range[1] && (range[2] === "∞" || key < range[2]);
}

// Times of a short timeline have the unit that suits them.
function time(ns, digits = 3) { return end < 1e9 ? duration(ns, 7) : `${(ns / 1e9).toFixed(digits)} s`; }
function duration(ns, digits = 4) {
  const units = [["s", 1e9], ["ms", 1e6], ["µs", 1e3], ["ns", 1]];
  const [name, size] = units.find(([, size]) => Math.abs(ns) >= size) || units[3];
  return `${+(ns / size).toPrecision(digits)} ${name}`;
}
const many = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
