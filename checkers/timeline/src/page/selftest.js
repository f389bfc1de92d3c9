// With `#selftest` the page uses itself as a person would, by real events, and leaves what it
// saw in `data-selftest` of its root element, as JSON.
if (location.hash === "#selftest") {
  const errors = [];
  window.addEventListener("error", (event) => errors.push(event.message));
  const forced = () => { flush(); return pen.getImageData(0, 0, canvas.width, canvas.height).data; };
  const timed = (act) => {
    const from = performance.now();
    act();
    forced();
    return performance.now() - from;
  };
  // The best of up to twelve: other work of the machine is none of the page's.
  const best = (act) => {
    let least = Infinity;
    for (let times = 0; times < 12 && (times < 3 || least > 50); times++) least = Math.min(least, timed(act));
    return least;
  };
  const press = (key) => document.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
  const wheel = (deltaY) => canvas.dispatchEvent(new WheelEvent("wheel", { deltaY, bubbles: true, cancelable: true }));
  const enter = (id, text, kind = "input") => { element(id).value = text; element(id).dispatchEvent(new Event(kind)); };
  const pointer = (kind, x, y) => {
    const box = canvas.getBoundingClientRect();
    canvas.dispatchEvent(new PointerEvent(kind, { clientX: box.left + x, clientY: box.top + y, bubbles: true }));
  };
  const click = (x, y) => { pointer("pointermove", x, y); pointer("pointerdown", x, y); pointer("pointerup", x, y); };
  const probe = document.createElement("canvas").getContext("2d");
  // How many pixels are nearly of a colour of the page.
  const pixelsOf = (style) => {
    probe.fillStyle = style;
    const [r, g, b] = probe.fillStyle.match(/[0-9a-f]{2}/gi).map((part) => parseInt(part, 16)), pixels = forced();
    let found = 0;
    for (let at = 0; at < pixels.length; at += 4) if (Math.abs(pixels[at] - r) + Math.abs(pixels[at + 1] - g) + Math.abs(pixels[at + 2] - b) < 24) found++;
    return found;
  };
  const chipOf = (parent, name) => [...element(parent).children].find((button) => button.textContent === name);
  const seen = {
    messages: count, operations: opCount, faults: data.faults.length, fault_rows: faultClasses.length,
    nodes: lanes.filter((lane) => lane.isNode).length, lanes: lanes.length, witness: witness.length,
    states: data.states.t.length, kinds: data.kinds.map((kind) => kind.name),
  };
  redraw();
  seen.first_frame_ms = timed(() => {});
  seen.load_ms = performance.now() - begun;
  seen.witness_pixels = pixelsOf(colour.bad);
  seen.witness_text = element("finding").textContent;
  seen.detail = element("detail").textContent;
  seen.table_rows = element("states").tBodies[0].rows.length;
  seen.log_lines = element("log").children.length;

  seen.whole_ms = best(() => { press("0"); redraw(); });
  seen.drawn_whole = drawn;
  seen.operations_drawn_whole = drawnOps;
  seen.listed_whole = listed;
  const before = view.span;
  seen.zoom_ms = best(() => wheel(-400));
  seen.has_zoomed = view.span < before;
  const from = view.from;
  seen.pan_ms = best(() => press("ArrowRight"));
  seen.has_panned = view.from > from;
  press("n");
  seen.goes_to_marked = witness.length > 0 && picked?.type === "op" && ops.witness[picked.row] === 1;

  // Scrubbing: by the slider, by key.
  press("0");
  seen.scrub_ms = best(() => enter("slider", "5000"));
  seen.cursor_part = cursor / end;
  seen.state_in_middle = element("states").tBodies[0].textContent;
  enter("slider", "0");
  seen.state_at_start = element("states").tBodies[0].textContent;
  enter("slider", "5000");
  const stood = cursor;
  press(".");
  seen.has_stepped = cursor > stood;
  press(",");
  seen.has_stepped_back = cursor <= stood;

  // Filters: a lane, a group, a kind, a key.
  const all = shownMessages;
  const firstNode = lanes.find((lane) => lane.isNode)?.process;
  if (firstNode !== undefined) {
    chipOf("lane-chips", names[firstNode]).click();
    seen.lanes_without_one = lanes.length;
    seen.messages_without_one = shownMessages;
    chipOf("lane-chips", names[firstNode]).click();
  }
  element("group-chips").children[0]?.click();
  seen.messages_without_group = shownMessages;
  element("group-chips").children[0]?.click();
  if (data.kinds.length) {
    seen.kind_ms = best(() => enter("kind", String(partKind[0]), "change"));
    seen.messages_of_kind = shownMessages;
    enter("kind", "", "change");
  }
  const key = data.finding?.key && dimKeys ? data.finding.key : data.keys.find((key) => !key.startsWith("["));
  seen.filter_ms = Math.max(seen.kind_ms ?? 0, best(() => enter("key", key ?? "")));
  seen.messages_of_key = shownMessages;
  seen.operations_of_key = shownOps;
  enter("key", "");
  seen.messages_again = shownMessages;
  seen.operations_again = shownOps;
  seen.messages_all = all;

  // Search: for what a client did, for what messages carry.
  press("0");
  const word = opCount ? textOf(0).split(" ")[0] : "";
  seen.search_ms = best(() => enter("search", word));
  seen.word = word;
  seen.found = hits.total;
  press("n");
  seen.goes_to_found = picked?.type !== "op" || hits.ops[picked.row] === 1;
  if (data.kinds.length) {
    seen.search_ms = Math.max(seen.search_ms, best(() => enter("search", data.kinds[0].name.toLowerCase())));
    seen.found_kind = hits.total;
    press("n");
    seen.goes_to_found_kind = Math.abs(cursor - hits.stops[at].at) < 1;
  }
  enter("search", "");

  // A message under the pointer tells what it is; a node tells its log; a fault itself.
  press("0");
  if (count) {
    view.span = 4e7;
    view.from = sent[count >> 1] - 1e7;
    limit(); redraw(); flush();
    let pointed = -1;
    for (let place = 0; place < listed && pointed < 0; place++) {
      const [x1, y1, x2, y2] = arrow(list[place]), [x, y] = [x1 + (x2 - x1) / 2, y1 + (y2 - y1) / 2];
      if (x > LEFT + 10 && x < canvas.clientWidth - 10 && y > TOP + 4 && y < canvas.clientHeight - 4 && messageAt(x, y) >= 0) { pointer("pointermove", x, y); if (hover?.type === "message") pointed = hover.i; }
    }
    seen.pointed = pointed < 0 ? "" : element("detail").textContent;
    seen.arrow_pixels = colour.groups.reduce((sum, style) => sum + pixelsOf(style), 0);
  }
  const lane = lanes.find((lane) => lane.isNode);
  if (lane) {
    click(20, lane.y + 12 - view.top);
    seen.log_of = element("log-of").selectedOptions[0]?.textContent ?? "";
  }
  if (data.faults.length) {
    const fault = data.faults[0];
    view.from = fault.at - view.span / 3;
    limit(); redraw(); flush();
    click(xOf(fault.at) + 1, AXIS + faultClasses.indexOf(fault.class) * FAULT_ROW + 6);
    seen.fault_detail = element("detail").textContent;
    press("0");
    flush();
    seen.fault_pixels = colour.faults.reduce((sum, style) => sum + pixelsOf(style), 0);
  }
  press("w");
  seen.goes_to_witness = witness.length > 0 && picked?.type === "op" && ops.witness[picked.row] === 1;
  seen.marked_pixels = pixelsOf(colour.bad);
  seen.errors = errors;
  document.documentElement.dataset.selftest = JSON.stringify(seen);
}
