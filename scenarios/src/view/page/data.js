"use strict";
// The data of the page as typed columns, and what is looked up in them. Times are nanoseconds
// since the start of the run.
const begun = performance.now();
const data = JSON.parse(document.getElementById("data").textContent);
const element = (id) => document.getElementById(id);
const end = Math.max(1, data.end);
const processes = data.processes;

// Groups of messages by how much they tell: a message with frames of several groups has the
// colour of the first of them.
const GROUPS = ["election", "snapshot", "replication", "forward", "client", "watch", "read", "lease", "heartbeat", "connection"];
const FAULTS = ["partition", "network", "crash", "pause", "clock", "disk"];
const OPEN = 0, DELIVERED = 1, LOST = 2, CUT = 3, UNHEARD = 4;

const count = data.messages.sent.length;
const sent = new Float64Array(count), ended = new Float64Array(count);
const sender = Uint16Array.from(data.messages.from), receiver = Uint16Array.from(data.messages.to);
const fate = Uint8Array.from(data.messages.fate), group = new Uint8Array(count);
const frameFrom = new Uint32Array(count + 1), frameCount = data.frames.kind.length;
const kindGroup = data.kinds.map((kind) => Math.max(0, GROUPS.indexOf(kind.group)));
const frameKind = Uint16Array.from(data.frames.kind);
const numberFrom = new Uint32Array(frameCount + 1), keyFrom = new Uint32Array(frameCount + 1);
for (let frame = 0; frame < frameCount; frame++) {
  numberFrom[frame + 1] = numberFrom[frame] + data.kinds[frameKind[frame]].fields.length;
  keyFrom[frame + 1] = keyFrom[frame] + data.frames.key_count[frame];
}
let clockNs = 0;
for (let i = 0; i < count; i++) {
  clockNs += data.messages.sent[i];
  sent[i] = clockNs;
  ended[i] = data.messages.flight[i] < 0 ? -1 : clockNs + data.messages.flight[i];
  frameFrom[i + 1] = frameFrom[i] + data.messages.frames[i];
  let best = GROUPS.length - 1;
  for (let frame = frameFrom[i]; frame < frameFrom[i + 1]; frame++) best = Math.min(best, kindGroup[frameKind[frame]]);
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

// States and lives by process.
const statesOf = processes.map(() => []);
for (let row = 0; row < data.states.t.length; row++) statesOf[data.states.process[row]]?.push(row);
const livesOf = processes.map(() => []);
for (const [at, process, turn] of data.lives) livesOf[process]?.push({ at, turn });

// Stretches of a process's life during which it was down, or paused.
const gapsOf = livesOf.map((lives) => {
  const gaps = [];
  let down = null, paused = null;
  const close = (gap, until) => { if (gap) gaps.push({ ...gap, until }); };
  for (const { at, turn } of lives) {
    if (turn === "started") { close(down, at); down = null; }
    else if (turn === "paused") paused ??= { from: at, text: "paused", isDown: false };
    else if (turn === "resumed") { close(paused, at); paused = null; }
    else { close(paused, at); paused = null; down ??= { from: at, text: turn, isDown: true }; }
  }
  close(down, end);
  close(paused, end);
  return gaps.sort((a, b) => a.from - b.from);
});
const gapAt = (process, time) => gapsOf[process].find((gap) => gap.from <= time && time < gap.until);

// What a member is from one change of its role or term to the next, or until it is down.
const rolesOf = statesOf.map((rows, process) => {
  const roles = [];
  const downs = gapsOf[process].filter((gap) => gap.isDown);
  for (let at = 0; at < rows.length; at++) {
    const row = rows[at], last = roles[roles.length - 1], next = at + 1 < rows.length ? data.states.t[rows[at + 1]] : end;
    const down = downs.find((gap) => gap.from >= data.states.t[row]);
    const until = Math.min(next, down ? down.from : end);
    const [role, term] = [data.states.role[row], data.states.term[row]];
    if (last && last.role === role && last.term === term && last.until >= data.states.t[row]) last.until = until;
    else roles.push({ from: data.states.t[row], until, role, term });
  }
  return roles;
});
// When a member's commit index rose.
const commitsOf = statesOf.map((rows) => {
  const commits = [];
  let last = 0;
  for (const row of rows) {
    if (data.states.commit[row] > last) commits.push(row);
    last = data.states.commit[row];
  }
  return commits;
});
// The row of what a member was at a time; −1 if it has not said so since it started.
function stateAt(process, time) {
  const rows = statesOf[process], row = rows[after(rows, (row) => data.states.t[row], time) - 1] ?? -1;
  const started = livesOf[process].findLast(({ at, turn }) => turn === "started" && at <= time);
  return row >= 0 && (!started || data.states.t[row] >= started.at) ? row : -1;
}

// Operations.
const ops = data.operations, opCount = ops.call.length;
const opEnd = Float64Array.from(ops.end, (value) => (value < 0 ? end : value));
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

function time(ns, digits = 3) { return `${(ns / 1e9).toFixed(digits)} s`; }
function duration(ns) {
  const units = [["s", 1e9], ["ms", 1e6], ["µs", 1e3], ["ns", 1]];
  const [name, size] = units.find(([, size]) => Math.abs(ns) >= size) || units[3];
  return `${+(ns / size).toPrecision(4)} ${name}`;
}
const many = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
