// Where things are: lanes, the window in time, filters, colours.
const canvas = element("canvas"), map = element("map");
const pen = canvas.getContext("2d"), mapPen = map.getContext("2d");
const LEFT = 138, AXIS = 24, FAULT_ROW = 15, MEMBER = 58, WIRE_ROW = 17, OP_ROW = 16, GAP = 6;

const isMember = processes.map((_, process) => statesOf[process].length > 0 || /^member-/.test(processes[process]));
const faultClasses = FAULTS.filter((name) => data.faults.some((fault) => fault.class === name));
// Axis and faults stay where they are, whatever is scrolled below them.
const TOP = AXIS + (faultClasses.length ? faultClasses.length * FAULT_ROW + GAP : 0);
const faultsOf = Object.fromEntries(FAULTS.map((name) => [name, data.faults.filter((fault) => fault.class === name)]));

// What is shown: lanes by process, messages by group, kind and key.
const filter = { lanes: processes.map(() => true), groups: GROUPS.map(() => true), kind: -1, key: "" };
let visible = new Uint8Array(count), shownMessages = 0, keyHits = null;

let lanes = [], laneOf = [], stageHeight = 0;
function layOut() {
  lanes = [];
  laneOf = processes.map(() => null);
  let y = TOP;
  const order = processes.map((_, process) => process).filter((process) => filter.lanes[process])
    .sort((a, b) => isMember[b] - isMember[a] || a - b);
  for (const process of order) {
    const lane = { process, y, rows: [], isMember: isMember[process] };
    lane.height = lane.isMember ? MEMBER : WIRE_ROW;
    lane.wire = lane.isMember ? y + 36 : y + 9;
    if (!lane.isMember) {
      lane.rows = rowsOf(process);
      lane.height += lane.rows.length * OP_ROW + 4;
    }
    y += lane.height + (lane.isMember ? 2 : 0);
    lanes.push(lane);
    laneOf[process] = lane;
  }
  stageHeight = y + 8;
}

// The operations of a process by client; an operation that overlaps goes a row below.
function rowsOf(process) {
  const clients = new Map();
  for (let row = 0; row < opCount; row++) {
    if (ops.process[row] !== process || !opIsShown(row)) continue;
    if (!clients.has(ops.client[row])) clients.set(ops.client[row], []);
    const own = clients.get(ops.client[row]);
    let place = own.find((place) => place.free <= ops.call[row]);
    if (!place) { place = { client: ops.client[row], ops: [], free: 0, isFirst: !own.length }; own.push(place); }
    place.ops.push(row);
    place.free = opEnd[row];
  }
  return [...clients.keys()].sort((a, b) => a - b).flatMap((client) => clients.get(client));
}
const opIsShown = (row) => ops.witness[row] || !keyHits || ops.keys[row].some((key) => keyHits[key]);

function applyFilters() {
  keyHits = filter.key ? data.keys.map((key) => covers(key, filter.key)) : null;
  shownMessages = 0;
  for (let i = 0; i < count; i++) {
    let isShown = filter.lanes[sender[i]] && filter.lanes[receiver[i]] ? 1 : 0;
    if (isShown) {
      isShown = frameFrom[i] === frameFrom[i + 1] && filter.kind < 0 && !keyHits && filter.groups[GROUPS.length - 1] ? 1 : 0;
      for (let frame = frameFrom[i]; frame < frameFrom[i + 1] && !isShown; frame++) {
        if (!filter.groups[kindGroup[frameKind[frame]]]) continue;
        if (filter.kind >= 0 && frameKind[frame] !== filter.kind) continue;
        if (!keyHits) { isShown = 1; break; }
        for (let key = keyFrom[frame]; key < keyFrom[frame + 1]; key++) if (keyHits[data.frames.keys[key]]) { isShown = 1; break; }
      }
    }
    visible[i] = isShown;
    shownMessages += isShown;
  }
  layOut();
  layOutMap();
  const shown = shownMessages === count ? many(count, "message") : `${shownMessages.toLocaleString("en")} of ${many(count, "message")}`;
  element("count").textContent = `${shown} · ${many(opCount, "operation")} · ${many(data.faults.length, "fault")}` +
    (data.missing.length ? ` · left out: ${data.missing.join(", ")}` : "");
}

const view = { from: 0, span: end, top: 0 };
let cursor = 0, hover = null, picked = null;
// Measured once for each drawing: asking the document costs more than drawing a line.
let stageWidth = 1;
function measure() { stageWidth = Math.max(1, canvas.clientWidth - LEFT); }
const width = () => stageWidth;
const xOf = (time) => LEFT + ((time - view.from) / view.span) * width();
const timeOf = (x) => view.from + ((x - LEFT) / width()) * view.span;

let colour = {};
function readColours() {
  const style = getComputedStyle(document.documentElement);
  for (const name of [...GROUPS, ...FAULTS, "ink", "paper", "band", "line", "soft", "bad", "pick", "now", "asks-read", "asks-write", "open", "commit", "down", "leads", "follows", "stands", "roleink"]) {
    colour[name] = style.getPropertyValue("--" + name).trim();
  }
}
// The colour of a role: the hue is the term's, the lightness the role's.
function roleColour(role, term) {
  const light = role === "leader" ? colour.leads : /candidate/.test(role) ? colour.stands : colour.follows;
  // Red is for what is wrong.
  return `hsl(${40 + ((term * 113) % 280)} 52% ${light})`;
}

function prepare(canvas, pen) {
  const scale = window.devicePixelRatio || 1, [w, h] = [canvas.clientWidth, canvas.clientHeight];
  if (canvas.width !== Math.round(w * scale) || canvas.height !== Math.round(h * scale)) {
    canvas.width = Math.round(w * scale);
    canvas.height = Math.round(h * scale);
  }
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.fillStyle = colour.paper;
  pen.fillRect(0, 0, w, h);
  pen.textBaseline = "middle";
  return [w, h];
}
