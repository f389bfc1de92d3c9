// Where things are: lanes, the window in time, filters, colours.
const canvas = element("canvas"), map = element("map");
const pen = canvas.getContext("2d"), mapPen = map.getContext("2d");
// Where there are only operations, they have the room.
const isPlain = count === 0 && !isNode.includes(true);
document.body.classList.toggle("plain", isPlain);
const LEFT = isPlain ? 104 : 138, AXIS = 24, FAULT_ROW = 15, NODE = 58, WIRE_ROW = isPlain ? 1 : 17, OP_ROW = isPlain ? 26 : 16, GAP = 6;

const faultClasses = data.fault_classes.map((_, number) => number).filter((number) => data.faults.some((fault) => fault.class === number));
// Axis and faults stay where they are, whatever is scrolled below them.
const TOP = AXIS + (faultClasses.length ? faultClasses.length * FAULT_ROW + GAP : 0);
const faultsOf = data.fault_classes.map((_, number) => data.faults.filter((fault) => fault.class === number));

// What is shown: lanes by process, messages by group, kind and key.
const filter = { lanes: names.map(() => true), groups: groups.map(() => true), kind: -1, key: "" };
let visible = new Uint8Array(count), shownMessages = 0, keyHits = null;

// Which keys the finding is about, if it says so and there are such keys: the others are dim.
const findingKeys = data.finding?.key ? data.keys.map((key) => covers(key, data.finding.key)) : [];
const dimKeys = findingKeys.includes(true) ? findingKeys : null;
let lanes = [], laneOf = [], stageHeight = 0, shownOps = 0;
const placeOf = new Int32Array(opCount);
function layOut() {
  lanes = [];
  laneOf = names.map(() => null);
  shownOps = 0;
  placeOf.fill(-1);
  let y = TOP;
  const order = names.map((_, process) => process).filter((process) => filter.lanes[process])
    .sort((a, b) => isNode[b] - isNode[a] || a - b);
  for (const process of order) {
    const lane = { process, y, rows: [], isNode: isNode[process] };
    lane.height = lane.isNode ? NODE : WIRE_ROW;
    lane.wire = lane.isNode ? y + 36 : y + 9;
    if (!lane.isNode) {
      lane.rows = rowsOf(process);
      lane.height += lane.rows.length * OP_ROW + (isPlain ? 1 : 4);
    }
    y += lane.height + (lane.isNode ? 2 : 0);
    lanes.push(lane);
    laneOf[process] = lane;
  }
  stageHeight = y + 8;
}

// The operations of a process by track; an operation that overlaps goes a row below.
const tracksOf = names.map(() => []);
data.tracks.forEach(({ lane }, track) => tracksOf[lane].push(track));
function rowsOf(process) {
  const rows = [];
  for (const track of tracksOf[process]) {
    const own = [];
    for (const row of opsOfTrack[track]) {
      if (!opIsShown(row)) continue;
      let place = own.find((place) => place.free <= ops.call[row]);
      if (!place) { place = { label: data.tracks[track].label, ops: [], free: 0, isFirst: !own.length, isBad: false, number: rows.length + own.length }; own.push(place); }
      place.ops.push(row);
      place.free = opEnd[row];
      place.isBad ||= ops.witness[row] === 1;
      placeOf[row] = place.number;
      shownOps++;
    }
    rows.push(...own);
  }
  return rows;
}
const opIsShown = (row) => ops.witness[row] || !keyHits || ops.keys[row].some((key) => keyHits[key]);

function applyFilters() {
  keyHits = filter.key ? data.keys.map((key) => covers(key, filter.key)) : null;
  shownMessages = 0;
  for (let i = 0; i < count; i++) {
    let isShown = filter.lanes[sender[i]] && filter.lanes[receiver[i]] ? 1 : 0;
    if (isShown) {
      isShown = partFrom[i] === partFrom[i + 1] && filter.kind < 0 && !keyHits && filter.groups[groups.length - 1] ? 1 : 0;
      for (let part = partFrom[i]; part < partFrom[i + 1] && !isShown; part++) {
        if (!filter.groups[kindGroup[partKind[part]]]) continue;
        if (filter.kind >= 0 && partKind[part] !== filter.kind) continue;
        if (!keyHits) { isShown = 1; break; }
        for (let key = keyFrom[part]; key < keyFrom[part + 1]; key++) if (keyHits[data.parts.keys[key]]) { isShown = 1; break; }
      }
    }
    visible[i] = isShown;
    shownMessages += isShown;
  }
  layOut();
  layOutMap();
  const of = (shown, all, noun) => (shown === all ? many(all, noun) : `${shown.toLocaleString("en")} of ${many(all, noun)}`);
  const counts = isPlain ? [of(shownOps, opCount, "operation"), many(names.length, "client"), duration(end)] :
    [of(shownMessages, count, "message"), many(opCount, "operation"), many(data.faults.length, "fault")];
  if (data.left_out.length) counts.push(`left out: ${data.left_out.join(", ")}`);
  element("count").textContent = counts.join(" · ");
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
  for (const name of ["ink", "paper", "band", "line", "soft", "bad", "pick", "now", "asks-read", "asks-write", "open", "progress", "down", "high", "low", "changing", "roleink"]) {
    colour[name] = style.getPropertyValue("--" + name).trim();
  }
  colour.groups = groupStyles.map((name) => style.getPropertyValue(name).trim());
  colour.faults = data.fault_classes.map((_, number) => style.getPropertyValue(faultStyle(number)).trim());
}
// Which of the page's colours a group or a class of faults has.
const GROUP_STYLES = 8, QUIET_STYLES = 2, FAULT_STYLES = 6;
const stylesTaken = { loud: 0, quiet: 0 };
const groupStyles = groups.map(({ quiet }) => (quiet ? `--quiet-${stylesTaken.quiet++ % QUIET_STYLES}` : `--group-${stylesTaken.loud++ % GROUP_STYLES}`));
const faultStyle = (number) => `--fault-${number % FAULT_STYLES}`;
// The colour of a role: the hue is the epoch's, the lightness tells how much it stands out.
const LOW = 0, CHANGING = 1, HIGH = 2;
function roleColour(epoch, emphasis) {
  const light = emphasis === HIGH ? colour.high : emphasis === CHANGING ? colour.changing : colour.low;
  // Red is for what is wrong.
  return `hsl(${40 + ((epoch * 113) % 280)} 52% ${light})`;
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
