"use strict";
// The data of the page and how numbers and names are written. Text from it only ever becomes text, never markup.
const parts = {};
const part = (name) => (parts[name] ??= JSON.parse(document.getElementById(name).textContent));
const DATA = part("data");
const LAST = DATA.captions.length - 1;
const NODE = ["label", "op", "time", "layer", "direction", "role", "cell", "scope", "value", "gradient", "ops", "frame"];
const EDGE = ["source", "target", "label", "message", "cut", "frame", "back", "crossing", "array", "value"];

const named = (names, values, at) => {
  const record = { at };
  names.forEach((name, i) => { record[name] = values[i]; });
  return record;
};
const levels = {};
const levelOf = (name) => (levels[name] ??= linked(part(`level-${name}`)));
const level = () => levelOf(state.level);

// Nodes and edges as records that know each other.
function linked({ nodes: rows, edges: pairs, views, title }) {
  const nodes = rows.map((values, at) => named(NODE, values, at));
  const edges = pairs.map((values, at) => named(EDGE, values, at));
  for (const node of nodes) { node.into = []; node.out = []; }
  for (const edge of edges) { nodes[edge.target].into.push(edge); nodes[edge.source].out.push(edge); }
  nodes.filter((node) => node.role === "parameter").forEach((node, i) => { node.parameter = DATA.parameters[i]; });
  return { nodes, edges, views, title };
}

const CHOICES = {
  show: [["both", "both"], ["forward", "values →"], ["backward", "messages ←"]],
  level: [["cell", "a cell"], ["op", "an op"]].filter(([name]) => DATA.levels.includes(name)),
  params: [["shared", "shared"], ["repeat", "repeated"]],
  scale: [["log", "log"], ["linear", "linear"]],
};
const DEFAULTS = { frame: LAST, show: "both", level: CHOICES.level[0][0], params: "shared", scale: "log", selected: null };
const state = { ...DEFAULTS };

const WORDS = { inf: Infinity, "-inf": -Infinity, nan: NaN };
const numeric = (value) => (typeof value === "string" ? WORDS[value] : value);

// Like Python's "%.3g" with a short exponent.
function brief(value, digits = 3) {
  if (value === null || value === undefined) return "–";
  const v = numeric(value);
  if (!Number.isFinite(v)) return Number.isNaN(v) ? "nan" : v > 0 ? "∞" : "−∞";
  if (v === 0) return "0";
  const [mantissa, exponent] = v.toExponential(digits - 1).split("e");
  const text = exponent < -4 || exponent >= Math.max(digits, 4) ? `${+mantissa}e${+exponent}` : String(+v.toPrecision(digits));
  return text.replace("-", "−").replace("e−", "e−");
}
const precise = (value) => brief(value, 11);

const placed = (node) => (node.time === null ? "" : ` (t=${node.time})`);
const called = (node) => `${node.label}${placed(node)}`;
function story(node) {
  const [shape, dtype] = DATA.values[node.value];
  const op = node.op === node.label || node.op === "leaf" ? "" : `op ${node.op}`;
  return [called(node), op, shape, dtype, node.cell, node.layer, node.ops > 1 ? `${node.ops} ops` : ""].filter(Boolean).join(" · ");
}
function saying(edge, backward, nodes = level().nodes) {
  const [from, to] = [called(nodes[edge.source]), called(nodes[edge.target])];
  if (!backward) return `${from} → ${to}${edge.label ? ` carries ${edge.label}` : ""}`;
  return edge.cut ? `${to} ⊣ ${from}: detached, no gradient passes` : `${to} → ${from}: message of norm ${brief(edge.message, 6)}`;
}

// h("p", {class: "x"}, "text", child): an element; only attributes and text, so names cannot become markup.
function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== null && value !== false) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== ""));
  return element;
}
const SVG = "http://www.w3.org/2000/svg";
function s(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const name in attributes) element.setAttribute(name, attributes[name]);
  element.append(...children);
  return element;
}
const byId = (id) => document.getElementById(id);

// ‖Σ of the messages so far‖ of a parameter, and how many of them have come.
function arrived(parameter, frame) {
  let found = [0, 0, 0];
  for (const step of parameter.steps) if (step[0] <= frame) found = step;
  return { count: found[1], norm: found[2] };
}
