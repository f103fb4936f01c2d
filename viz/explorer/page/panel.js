// The side: gradients as they fill, and all about what was clicked, with the cut identity at an edge of time.
const SO_FAR = byId("gradients"), DETAILS = byId("details");

function percent(parameter, frame) {
  const { count, norm } = arrived(parameter, frame);
  return `${(100 * filled(parameter, norm, count)).toFixed(1)}%`;
}

function buildGradients() {
  SO_FAR.append(h("h2", {}, "Gradients: ‖Σ of the messages so far‖"));
  SO_FAR.append(h("p", { class: "quiet" }, "and how many have come; the mark is ‖∂L/∂θ‖."));
  if (!DATA.parameters.length) SO_FAR.append(h("p", { class: "quiet" }, "This graph has no parameters."));
  if (DATA.note) SO_FAR.append(h("p", {}, h("bdi", {}, DATA.note)));
  if (DATA.parameters.some((p) => p.steps.some((step) => step[2] === null))) {
    SO_FAR.append(h("p", { class: "quiet" }, "The messages themselves were not kept, so their sum is not known on the way: viz.trace(…, values=True)."));
  }
  for (const parameter of DATA.parameters) {
    const row = h("button", { class: "gradient", type: "button", title: parameter.node, click: () => select(`n${level().nodes.findIndex((n) => n.parameter === parameter)}`) },
      h("b", {}, h("bdi", {}, parameter.name)), h("span", { class: "sum" }),
      h("span", { class: "track" }, h("span", { class: "fill" }), h("span", { class: "whole", style: `left:${percent(parameter, LAST)}` })));
    parameter.row = row;
    SO_FAR.append(row);
  }
}

function showGradients(frame) {
  for (const parameter of DATA.parameters) {
    const { count, norm: value } = arrived(parameter, frame);
    const done = frame === LAST && value === null ? parameter.gradient : value;
    const sum = parameter.row.querySelector(".sum");
    sum.textContent = `${brief(done, 5)} · ${count}/${parameter.uses}`;
    parameter.row.dataset.norm = done;
    parameter.row.dataset.count = count;
    parameter.row.querySelector(".fill").style.width = percent(parameter, frame);
  }
}

const table = (head, rows) => h("div", { class: "wide" }, h("table", {},
  h("thead", {}, h("tr", {}, head.map((text) => h("th", { scope: "col" }, text)))), rows));
const line = (name, cells) => h("tr", {}, h("th", { scope: "row" }, name), cells.map((cell) => h("td", {}, cell)));

// The entries of a value, if the page has them.
function entries(value) {
  const [shape, , , at] = DATA.values[value];
  return at === undefined || shape === "scalar" ? "" : array(at);
}

function facts(value) {
  const [shape, dtype, stats] = DATA.values[value];
  if (shape === "scalar" && "mean" in stats) return [dtype, brief(stats.mean, 6)];
  const words = Object.entries(stats).map(([name, number]) => `${name} ${brief(number, 6)}`);
  return [[shape, dtype].filter(Boolean).join(", "), words.join(" · ")];
}

// A small array number by number, rows below each other; a large one by its statistics.
function array(entry) {
  const { shape, full, stats } = part("arrays")[entry];
  const size = shape.length ? shape.join("×") : "scalar";
  if (stats) return h("p", {}, `${size}: ${["mean", "std", "min", "max"].map((name, i) => `${name} ${brief(stats[i], 6)}`).join(" · ")}`);
  const columns = shape.length > 1 ? shape[shape.length - 1] : 8;
  const rows = [];
  for (let at = 0; at < full.length; at += columns) rows.push(h("tr", {}, full.slice(at, at + columns).map((v) => h("td", { title: precise(v) }, brief(v)))));
  return h("div", { class: "wide" }, h("p", { class: "quiet" }, size), h("table", { class: "array" }, h("tbody", {}, rows)));
}

function showDetails() {
  DETAILS.replaceChildren();
  DETAILS.classList.toggle("hint", !state.selected);
  if (!state.selected) {
    DETAILS.append(h("h2", {}, "Click a line or a node"), h("p", { class: "quiet" },
      "A line shows its value and its message; between two time steps also how the gradient adds up there. Keys: ?"));
    return;
  }
  const at = Number(state.selected.slice(1));
  if (state.selected[0] === "e") edgeDetails(level().edges[at]);
  else nodeDetails(level().nodes[at]);
}

const link = (edge, text) => h("button", { type: "button", click: () => select(`e${edge.at}`) }, h("bdi", {}, text));

function edgeDetails(edge) {
  const { nodes } = level();
  const [source, target] = [nodes[edge.source], nodes[edge.target]];
  DETAILS.append(h("h2", {}, h("bdi", {}, called(source)), " → ", h("bdi", {}, called(target))));
  DETAILS.append(h("p", {}, h("b", {}, "value "), h("bdi", {}, edge.label), " ", facts(edge.value).filter(Boolean).join(": ")), entries(edge.value));
  if (edge.cut) DETAILS.append(h("p", {}, h("b", {}, "cut: "), "detached here, no gradient passes."));
  else if (edge.message === null) DETAILS.append(h("p", {}, h("b", {}, "no message: "), DATA.note || "no gradient is wanted along this line."));
  else {
    DETAILS.append(h("p", { class: "message", "data-norm": edge.message }, h("b", {}, "message "), `norm ${precise(edge.message)}`));
    if (edge.array !== null && part("arrays")[edge.array].shape.length) DETAILS.append(array(edge.array));
  }
  if (edge.crossing !== null) identity(edge.crossing);
  const beside = source.role === "parameter" ? target.into.filter((e) => e !== edge && nodes[e.source].role === "parameter") : [];
  if (beside.length) {
    DETAILS.append(h("p", { class: "quiet" }, "Other parameters that enter here:"),
      h("div", { class: "links" }, beside.map((e) => link(e, `${called(nodes[e.source])}: ${brief(e.message)}`))));
  }
}

// ∂L/∂θ = what losses before the edge give + what crosses it + what parameters do after it, whichever the edge.
function identity(t) {
  const found = DATA.identity;
  DETAILS.append(h("h2", {}, `The gradient, seen from the edge into t = ${t}`));
  if (!found) {
    DETAILS.append(h("p", { class: "quiet" }, "Its three parts here are shown for viz.explore(trace, problem=…), the same loss as a tg.bptt.Problem."));
    return;
  }
  DETAILS.append(h("p", {}, `∂L/∂θ = Σ over s<${t} of eₛ Γₛ + m Γ + Σ over s≥${t} of mₛ₊₁ Dₛ`),
    h("p", { class: "quiet" }, `before: losses earlier than the edge, by sensitivities Γ. crossing: message m (norm ${brief(found.states[t], 5)}) meets Γ. after: what θ does later. Along the gradient ∂L/∂θ the three add up to its norm; so do they in each entry, here the largest.`));
  const bodies = found.edges[t].map((row, i) => {
    const [norms, along, entry] = [row.slice(0, 3), row.slice(3, 6), row.slice(6, 9)];
    const sum = (parts) => parts.reduce((total, part) => total + numeric(part), 0);
    const at = found.largest[i].length ? `entry [${found.largest[i]}]` : "entry";
    return h("tbody", { class: "group", "data-name": found.names[i], "data-along": JSON.stringify(along), "data-norm": found.norms[i], "data-sum": sum(along) },
      h("tr", {}, h("th", { colspan: 5 }, h("bdi", {}, found.names[i]), ` ‖∂L/∂θ‖ = ${brief(found.norms[i], 6)}`)),
      line("along ∂L/∂θ", [...along, sum(along)].map((v) => brief(v, 4))),
      line(at, [...entry, sum(entry)].map((v) => brief(v, 4))),
      line("norms", [...norms.map((v) => brief(v, 4)), ""]));
  });
  DETAILS.append(table(["", "before", "crossing", "after", "sum"], bodies));
}

function nodeDetails(node) {
  const { nodes } = level();
  DETAILS.append(h("h2", {}, h("bdi", {}, called(node))), h("p", { class: "quiet" }, h("bdi", {}, [node.role, story(node), node.scope].filter(Boolean).join(" · "))));
  DETAILS.append(h("p", {}, h("b", {}, "value "), facts(node.value)[1] || "no statistics"), entries(node.value));
  if (node.gradient !== null) DETAILS.append(h("p", { class: "message", "data-norm": node.gradient }, h("b", {}, "gradient "), `norm ${precise(node.gradient)}`));
  for (const [words, edges, end] of [["reads", node.into, "source"], ["is read by", node.out, "target"]]) {
    if (!edges.length) continue;
    const text = (edge) => `${called(nodes[edge[end]])}${edge.label && edge.label !== nodes[edge[end]].label ? ` (${edge.label})` : ""}: ${edge.cut ? "cut" : edge.message === null ? "no message" : `message ${brief(edge.message)}`}`;
    DETAILS.append(h("p", { class: "quiet" }, `${words} ${edges.length}:`), h("div", { class: "links" }, edges.slice(0, 60).map((edge) => link(edge, text(edge)))));
    if (edges.length > 60) DETAILS.append(h("p", { class: "quiet" }, `… and ${edges.length - 60} more`));
  }
}
