// The page itself: what stands around the drawing.
const OFFERED_KEYS_MAX = 500, SHOWN_WITNESS_MAX = 40;

function chip(parent, name, swatch, isOn, toggle) {
  const button = document.createElement("button");
  button.setAttribute("aria-pressed", String(isOn));
  if (swatch) button.append(Object.assign(document.createElement("i"), { style: `background:var(--${swatch})` }));
  button.append(name);
  button.addEventListener("click", () => {
    const isPressed = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(isPressed));
    toggle(isPressed);
    applyFilters();
    limit(); redraw();
  });
  parent.append(button);
}
function refilter() { applyFilters(); limit(); redraw(); }

document.title = data.title;
element("title").textContent = data.heading;
element("verdict").textContent = data.finding && data.finding.name ? `${data.verdict}: ${data.finding.name}` : data.verdict;
element("verdict").className = data.verdict.replaceAll(" ", "-");
if (!isPlain) names.forEach((name, process) => chip(element("lane-chips"), name, "", true, (isOn) => { filter.lanes[process] = isOn; }));
groups.forEach(({ name }, number) => {
  if (kindGroup.includes(number)) chip(element("group-chips"), name, groupStyles[number].slice(2), true, (isOn) => { filter.groups[number] = isOn; });
});
element("next").textContent = nextLabel();
element("filters").hidden = isPlain;
element("kind-label").hidden = !data.kinds.length;
element("states").hidden = !isNode.includes(true);
element("log-head").hidden = element("log").hidden = !Object.keys(data.logs).length;
const columns = ["node", "is", data.epoch, ...tableFields.map((field) => data.fields[field].name)];
element("states").tHead.rows[0].append(...columns.map((text) => Object.assign(document.createElement("th"), { textContent: text })));
element("kind").append(...data.kinds.map((kind, number) => new Option(kind.name, String(number))).sort((a, b) => a.text.localeCompare(b.text)));
element("kind").addEventListener("change", () => { filter.kind = element("kind").value === "" ? -1 : Number(element("kind").value); refilter(); });
element("keys").append(...data.keys.filter((key) => !key.startsWith("[")).sort().slice(0, OFFERED_KEYS_MAX).map((key) => new Option(key)));
element("key").addEventListener("input", () => {
  filter.key = element("key").value.trim();
  refilter();
  element("key").setCustomValidity(filter.key && !keyHits.includes(true) ? "no such key" : "");
});
element("only").addEventListener("click", () => { element("key").value = data.finding.key; filter.key = data.finding.key; refilter(); showWitness(); });
element("search").addEventListener("input", () => search(element("search").value.trim()));
element("fit").addEventListener("click", fit);
element("next").addEventListener("click", () => cycle(1));
element("previous").addEventListener("click", () => cycle(-1));
element("play").addEventListener("click", play);
element("log-of").append(...names.map((name, process) => new Option(name, String(process))).filter((option) => data.logs[option.value]));
element("log-of").addEventListener("change", () => { logProcess = Number(element("log-of").value); showLog(); });
window.addEventListener("resize", () => { limit(); redraw(); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { readColours(); showPanel(); redraw(); });

const legend = [["asks-read", "read"], ["asks-write", "write"], ["open", "outcome unknown"], ["bad", isPlain ? "violation" : "violation, lost message"],
  ...(data.progress < 0 ? [] : [["progress", data.fields[data.progress].name]]), ...(isPlain ? [] : [["down", "down, paused"]])];
const remark = (text) => Object.assign(document.createElement("span"), { textContent: text });
element("legend").append(...legend.map(([style, text]) => {
  const entry = document.createElement("span");
  entry.append(Object.assign(document.createElement("i"), { style: `background:var(--${style})` }), text);
  return entry;
}));
if (data.states.t.length) element("legend").append(remark(`a node's band: hue for the ${data.epoch}, dark for who leads`));
if (ops.point.some((point) => point >= 0)) element("legend").append(remark("● can have taken effect"));

if (data.finding) {
  const box = element("finding");
  const entry = (name, ...content) => {
    const [term, text] = [document.createElement("dt"), document.createElement("dd")];
    term.textContent = name;
    text.append(...content);
    box.append(term, text);
  };
  const key = data.finding.key;
  element("only").hidden = dimKeys === null || data.keys.length < 2;
  if (data.finding.expected === null) entry(data.finding.name, data.finding.text);
  else {
    entry("expected", data.finding.expected);
    entry("got", data.finding.got + (key ? ` (key ${key})` : ""));
    entry("witness", ...data.finding.witness.slice(0, SHOWN_WITNESS_MAX).map((operation) => {
      const row = witness.find((row) => (operation.op === null ? ops.call[row] === operation.call : ops.op[row] === operation.op));
      const button = document.createElement("button");
      const until = operation.end === null ? "?" : time(operation.end, 6);
      button.textContent = `${operation.op === null ? "" : `#${operation.op}  `}client ${operation.client}  ${time(operation.call, 6)} to ${until}  ${operation.text}`;
      if (row !== undefined) button.addEventListener("click", () => { goToOp(row); canvas.focus(); });
      return button;
    }));
    if (data.finding.witness.length > SHOWN_WITNESS_MAX) entry("", `and ${data.finding.witness.length - SHOWN_WITNESS_MAX} more`);
  }
  box.hidden = false;
}
readColours();
applyFilters();
fit();
pick(null);
logProcess = Math.max(data.log_of, 0);
showWitness();
canvas.focus({ focusVisible: false });
