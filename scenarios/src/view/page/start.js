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

document.title = `seed ${data.seed}: ${data.verdict}`;
element("title").textContent = data.reproduce;
element("verdict").textContent = data.finding ? `${data.verdict}: ${data.finding.signature}` : data.verdict;
element("verdict").className = data.verdict;
processes.forEach((name, process) => chip(element("lane-chips"), name, "", true, (isOn) => { filter.lanes[process] = isOn; }));
GROUPS.forEach((name, number) => {
  if (kindGroup.includes(number)) chip(element("group-chips"), name, name, true, (isOn) => { filter.groups[number] = isOn; });
});
element("kind").append(...data.kinds.map((kind, number) => new Option(kind.name, String(number))).sort((a, b) => a.text.localeCompare(b.text)));
element("kind").addEventListener("change", () => { filter.kind = element("kind").value === "" ? -1 : Number(element("kind").value); refilter(); });
element("keys").append(...data.keys.filter((key) => !key.startsWith("[")).sort().slice(0, OFFERED_KEYS_MAX).map((key) => new Option(key)));
element("key").addEventListener("input", () => {
  filter.key = element("key").value.trim();
  refilter();
  element("key").setCustomValidity(filter.key && !keyHits.includes(true) ? "no such key" : "");
});
element("search").addEventListener("input", () => search(element("search").value.trim()));
element("fit").addEventListener("click", fit);
element("next").addEventListener("click", () => cycle(1));
element("previous").addEventListener("click", () => cycle(-1));
element("play").addEventListener("click", play);
element("log-of").append(...processes.map((name, process) => new Option(name, String(process))).filter((option) => data.logs[option.text]));
element("log-of").addEventListener("change", () => { logProcess = Number(element("log-of").value); showLog(); });
window.addEventListener("resize", () => { limit(); redraw(); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { readColours(); showPanel(); redraw(); });

const legend = [["asks-read", "read"], ["asks-write", "write"], ["open", "outcome unknown"], ["bad", "violation, lost message"], ["commit", "commit"], ["down", "down, paused"]];
element("legend").append(
  ...legend.map(([style, text]) => {
    const entry = document.createElement("span");
    entry.append(Object.assign(document.createElement("i"), { style: `background:var(--${style})` }), text);
    return entry;
  }),
  Object.assign(document.createElement("span"), { textContent: "a member's band: hue for the term, dark for the leader" }),
);

if (data.finding) {
  const box = element("finding");
  const entry = (name, ...content) => {
    const [term, text] = [document.createElement("dt"), document.createElement("dd")];
    term.textContent = name;
    text.append(...content);
    box.append(term, text);
  };
  if (data.finding.expected === null) entry(data.finding.signature, data.finding.text);
  else {
    entry("expected", data.finding.expected);
    entry("got", data.finding.got + (data.finding.key ? ` (key ${data.finding.key})` : ""));
    entry("witness", ...data.finding.witness.slice(0, SHOWN_WITNESS_MAX).map((operation) => {
      const row = witness.find((row) => (operation.op === null ? ops.call[row] === operation.call : ops.op[row] === operation.op));
      const button = document.createElement("button");
      const until = operation.end === null ? "?" : time(operation.end, 6);
      button.textContent = `${operation.op === null ? "" : `#${operation.op}  `}client ${operation.session}  ${time(operation.call, 6)} to ${until}  ${operation.text}`;
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
// The log of whoever answered wrongly, or of the first member.
const answered = /from member (\d+)$/.exec(witness.length ? ops.text[witness[witness.length - 1]] : "");
logProcess = Math.max(answered ? processes.indexOf(`member-${answered[1]}`) : 0, 0);
showWitness();
canvas.focus({ focusVisible: false });
