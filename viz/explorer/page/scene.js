// The picture as SVG: built once for each level and way of drawing parameters, then only its classes change.
const scenes = {};
const LINE = { forward: "forward", dropped: "forward dropped", parameter: "parameter-line", backward: "backward", cut: "cut" };

function octagon(w, h) {
  const c = Math.min(w, h) * 0.29, [x, y] = [w / 2, h / 2];
  return [[-x, c - y], [c - x, -y], [x - c, -y], [x, c - y], [x, y - c], [x - c, y], [c - x, y], [-x, y - c]].join(" ");
}
const SHAPES = {
  input: (w, h) => [s("path", { d: `M${-w / 2} ${-h / 2}h${w - 8}l8 8v${h - 8}h${-w}z` })],
  other: (w, h) => [s("ellipse", { rx: w / 2, ry: h / 2 })],
  loss: (w, h) => [s("polygon", { points: octagon(w, h) })],
  parameter: (w, h) => [s("path", { d: `M${-w / 2} ${5 - h / 2}a${w / 2} 5 0 0 1 ${w} 0v${h - 10}a${w / 2} 5 0 0 1 ${-w} 0z` })],
  box: (w, h, rx) => [s("rect", { x: -w / 2, y: -h / 2, width: w, height: h, rx })],
};
const ROUND = { cell: 8, state: 8, gate: 8, bar: 8 };

// A part of the picture some columns wide; the camera shows those in sight, so that a long one opens at once.
const CHUNK = 1600;
class Chunks {
  constructor() {
    this.root = s("g");
    this.found = new Map();
  }
  // Where something belongs that reaches from one x to another; a long line is not left out anywhere.
  of(from, to = from) {
    const far = Math.abs(to - from) > CHUNK;
    const at = far ? "far" : Math.floor(Math.min(from, to) / CHUNK);
    if (!this.found.has(at)) this.found.set(at, this.root.appendChild(s("g")));
    return this.found.get(at);
  }
  cull(left, right) {
    for (const [at, g] of this.found) {
      const out = at !== "far" && ((at + 2) * CHUNK < left || (at - 0.5) * CHUNK > right);
      if (out === (g.parentNode === this.root)) out ? g.remove() : this.root.append(g); // hidden alone it would be styled
    }
  }
}

function build(levelName, params) {
  const { nodes, edges, views } = levelOf(levelName);
  const view = views[params];
  const [behind, places, between] = [new Chunks(), new Chunks(), new Chunks()];
  const root = s("g", { class: "scene" }, behind.root, places.root, between.root);
  const frames = Array.from({ length: LAST + 1 }, () => []);
  const scene = { root, layers: [behind, places, between], at: new Map(), frames, bounds: view.bounds, nodes: new Map(), lines: new Map(), gauges: [], shares: [], reach: [] };
  scene.largest = edges.reduce((most, e) => (Number.isFinite(numeric(e.message)) ? Math.max(most, numeric(e.message)) : most), 0);

  for (const [name, x, y, w, height] of view.bands) {
    behind.of(x).append(s("rect", { class: "band", x: x - w / 2, y: y - height / 2, width: w, height, rx: 8 }));
    behind.of(x).append(s("text", { class: "time", x, y: y + height / 2 - 8, "text-anchor": "middle" }, name));
  }
  for (const [name, x, y, w, height] of view.frames) {
    behind.of(x).append(s("rect", { class: "frame", x: x - w / 2, y: y - height / 2, width: w, height, rx: 8 }));
    behind.of(x).append(s("text", { class: "frame-name", x: x - w / 2 + 8, y: y - height / 2 + 12 }, name));
  }
  for (const [number, x, y, look, copy] of view.nodes) {
    const node = nodes[number];
    const [w, height, card, lines] = view.looks[look];
    const once = copy === undefined;
    const id = once ? `n${number}` : `n${number}e${copy}`;
    const g = s("g", { id, transform: `translate(${x} ${y})` }, s("title", {}, story(node)));
    const shape = (SHAPES[card] ?? SHAPES.box)(w, height, ROUND[card] ?? 0)[0];
    shape.setAttribute("class", "shape");
    g.append(shape);
    if (card === "state") g.append(s("rect", { class: "inner", x: 3 - w / 2, y: 3 - height / 2, width: w - 6, height: height - 6, rx: 6 }));
    if (card === "parameter") g.append(s("path", { class: "inner", d: `M${-w / 2} ${5 - height / 2}a${w / 2} 5 0 0 0 ${w} 0` }));
    const live = once ? node.parameter : undefined;
    const rows = lines.concat(live || !once ? [["", 9, 0]] : []);
    let top = -rows.reduce((sum, [, size]) => sum + size * 1.25, 0) / 2 + (card === "parameter" ? 2 : 0);
    for (const [text, size, bold] of rows) {
      const line = s("text", { y: (top + size * 0.98).toFixed(1), "font-size": size, "text-anchor": "middle" }, text);
      if (bold) line.setAttribute("font-weight", 700);
      g.append(line);
      top += size * 1.25;
    }
    places.of(x - w / 2, x + w / 2).append(g);
    if (once) scene.at.set(number, x);
    const item = { element: g, base: `node ${card}`, node, x, y, w, h: height, extra: "" };
    g.item = item;
    if (live) scene.gauges.push({ text: g.lastChild, parameter: live, bar: gauge(g, w, height) });
    if (!once && edges[copy].message !== null) {
      g.lastChild.setAttribute("class", "share");
      scene.shares.push({ text: g.lastChild, edge: edges[copy] });
    }
    if (node.frame && node.time !== null) widen(scene, node.frame, item);
    frames[node.frame].push(item);
    if (!scene.nodes.has(number)) scene.nodes.set(number, []);
    scene.nodes.get(number).push(item);
  }
  drawLines(scene, between, nodes, edges, view, levelName === "cell" && params === "shared");
  for (const list of frames) for (const item of list) dress(item, "done");
  return scene;
}

function gauge(g, w, height) {
  const y = height / 2 - 6;
  const bar = s("rect", { class: "gauge", x: 8 - w / 2, y: y - 2.5, width: 0, height: 4 });
  g.append(s("rect", { class: "tube", x: 8 - w / 2, y: y - 2.5, width: w - 16, height: 4 }), bar);
  return { bar, width: w - 16 };
}

// How far what appears in a frame reaches: left, right, top, bottom.
function widen(scene, frame, { x, y, w, h: height }) {
  const [left, right, top, bottom] = scene.reach[frame] ?? [Infinity, -Infinity, Infinity, -Infinity];
  scene.reach[frame] = [Math.min(left, x - w / 2), Math.max(right, x + w / 2), Math.min(top, y - height / 2), Math.max(bottom, y + height / 2)];
}

function drawLines(scene, between, nodes, edges, view, joined) {
  const marks = { forward: "url(#tip)", dropped: "url(#open)", parameter: "url(#small)", backward: "url(#tip)", cut: "url(#tee)" };
  for (const [at, path, x, y] of view.wires) {
    const edge = edges[at];
    const [kind, d, label, lx, ly] = view.paths[path];
    const backward = kind === "backward" || kind === "cut";
    const g = s("g", { id: `e${at}${backward ? "b" : "f"}`, transform: `translate(${x} ${y})` }, s("title", {}, saying(edge, backward, nodes)));
    g.append(s("path", { d, "marker-end": marks[kind] }));
    const item = { element: g, base: `line ${LINE[kind]}`, edge, backward, kind, extra: "", label: null, norm: backward ? norm(edge, nodes, joined) : null };
    if (label) {
      item.label = s("text", { x: lx, y: ly + 3 }, label[0] === "#" ? brief(item.norm) : label);
      g.append(item.label);
    }
    if (kind === "backward" && numeric(item.norm) === 0) item.base += " none";
    if (kind === "backward" && joined && edge !== nodes[edge.target].into.find(rail(nodes)) && rail(nodes)(edge)) item.base += " again"; // on another one
    g.item = item;
    // parameters run along one line, so those that end in sight show it all
    const [from, to] = [scene.at.get(edge.source), scene.at.get(edge.target)];
    between.of(nodes[edge.source].role === "parameter" || from === undefined ? to : from, to).append(g);
    const frame = backward ? edge.back : edge.frame;
    scene.frames[frame].push(item);
    if (!scene.lines.has(at)) scene.lines.set(at, []);
    scene.lines.get(at).push(item);
  }
}

// The norm of one message or, where the lines of all parameters of a step run together, of theirs.
function norm(edge, nodes, joined) {
  if (!joined || !rail(nodes)(edge)) return edge.message;
  return Math.hypot(...nodes[edge.target].into.filter(rail(nodes)).map((e) => numeric(e.message) ?? 0));
}
const rail = (nodes) => (edge) => nodes[edge.source].role === "parameter" || nodes[edge.source].role === "constant";

const dress = (item, when) => {
  item.when = when;
  item.element.setAttribute("class", `${item.base} ${when}${item.extra}`);
};

// How strong a message is, 0 … 1: its share of the largest, or 5.5 factors of ten below it.
function strength(value, largest) {
  const v = numeric(value);
  if (!Number.isFinite(v)) return 1;
  if (!(v > 0 && largest > 0)) return 0;
  return state.scale === "linear" ? v / largest : Math.max(0, 1 + Math.log10(v / largest) / 5.5);
}

function paint(scene) {
  for (const items of scene.lines.values()) {
    for (const item of items) {
      if (item.kind !== "backward") continue;
      const v = strength(item.norm, scene.largest);
      item.element.style.setProperty("--v", v.toFixed(3));
      item.element.style.strokeWidth = (0.6 + 2.2 * v).toFixed(2);
    }
  }
}

// Only what lies between the two frames changes.
function show(scene, frame) {
  const before = scene.frame ?? -2;
  const when = (at) => (at === 0 ? "done" : at < frame ? "done" : at === frame ? "now" : "todo");
  const [low, high] = scene.frame === undefined ? [0, LAST] : [Math.min(before, frame), Math.max(before, frame)];
  for (let at = low; at <= high; at += 1) for (const item of scene.frames[at]) if (item.when !== when(at)) dress(item, when(at));
  scene.frame = frame;
  for (const { text, parameter, bar } of scene.gauges) {
    const { norm: value, count } = arrived(parameter, frame);
    text.textContent = count ? `‖Σ‖ ${brief(value)}` : "‖Σ‖ 0";
    bar.bar.setAttribute("width", (bar.width * filled(parameter, value, count)).toFixed(1));
  }
  for (const { text, edge } of scene.shares) text.textContent = edge.back <= frame ? brief(edge.message) : "";
}

// How full a parameter is: its norm so far beside the largest on the way; without the messages, their number.
function filled(parameter, value, count) {
  const norms = parameter.steps.map((step) => numeric(step[2])).filter((v) => Number.isFinite(v) && v !== null);
  if (value === null) return parameter.uses ? count / parameter.uses : 0;
  const most = Math.max(0, ...norms);
  return most && Number.isFinite(numeric(value)) ? numeric(value) / most : 0;
}
