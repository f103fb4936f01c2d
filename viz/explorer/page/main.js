// Controls, keys, search and legend; then the first picture.
const KEYS = [
  [["ArrowRight", "."], "→ .", "one frame on", () => go(state.frame + 1)],
  [["ArrowLeft", ","], "← ,", "one frame back", () => go(state.frame - 1)],
  [["Home"], "Home", "the bare graph", () => go(0)],
  [["End"], "End", "all of it", () => go(LAST)],
  [[" "], "space", "play, pause", () => play()],
  [["b"], "b", "both, values or messages", () => cycle("show")],
  [["l"], "l", "a node is a cell, or an op", () => cycle("level")],
  [["p"], "p", "parameters once, or at every use", () => cycle("params")],
  [["c"], "c", "colour and width: logarithm of the norm, or the norm", () => cycle("scale")],
  [["n"], "n", "next line of this frame: its value and message", () => nextLine(1)],
  [["N"], "N", "the line before", () => nextLine(-1)],
  [["/"], "/", "search; Enter: next found", () => byId("search").focus()],
  [["+", "="], "+", framed ? "zoom in (or ctrl and the wheel)" : "zoom in (or the wheel)", () => zoom(1.25)],
  [["-"], "−", "zoom out", () => zoom(0.8)],
  [["0"], "0", "the whole graph, as far as it can be seen", () => overview()],
  [["1"], "1", "as large as it can be read", () => fit(false)],
  [["Shift+ArrowLeft"], "shift ←", "move the picture (also shift →, ↑, ↓, or drag)", () => pan(80, 0)],
  [["Shift+ArrowRight"], "", "", () => pan(-80, 0)],
  [["Shift+ArrowUp"], "", "", () => pan(0, 80)],
  [["Shift+ArrowDown"], "", "", () => pan(0, -80)],
  [["d"], "d", "dark, light, or as the system is", () => theme()],
  [["Escape"], "Esc", "nothing selected", () => select(null)],
  [["?"], "?", "these keys", () => byId("help").showModal()],
];

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || byId("help").open) return;
  const typing = event.target === byId("search");
  if (typing) {
    if (event.key === "Enter") nextMatch();
    if (event.key === "Escape") { event.target.value = ""; search(""); event.target.blur(); }
    return;
  }
  if (event.key === " " && event.target.tagName === "BUTTON") return;
  if (event.target.type === "radio" && event.key.startsWith("Arrow")) return;
  const name = event.shiftKey && event.key.startsWith("Arrow") ? `Shift+${event.key}` : event.key;
  const found = KEYS.find(([keys]) => keys.includes(name));
  if (!found) return;
  event.preventDefault();
  if (timer !== null && found[2] !== "play, pause") play(false);
  found[3]();
});

function theme() {
  const order = ["light dark", "light", "dark"];
  const root = document.documentElement.style;
  root.colorScheme = order[(order.indexOf(root.colorScheme || order[0]) + 1) % order.length];
}

let found = [];
let nth = -1;
// All words must occur in what a node is called, does or is: "h t=2".
function search(text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const about = (n) => ` ${n.label} ${n.op} ${n.role} ${n.cell ?? ""} ${n.layer} ${n.direction ?? ""} ${n.scope} ${n.time === null ? "" : `t=${n.time}`} `.toLowerCase();
  const fits = (n) => words.every((word) => (word.startsWith("t=") ? about(n).includes(` ${word} `) : about(n).includes(word)));
  found = words.length ? level().nodes.filter((n) => scene().nodes.has(n.at) && fits(n)) : [];
  matches.clear();
  for (const node of found) matches.add(node);
  nth = -1;
  byId("found").textContent = words.length ? `${found.length} found` : "";
  mark();
}
function nextMatch() {
  if (!found.length) return;
  nth = (nth + 1) % found.length;
  const [item] = scene().nodes.get(found[nth].at);
  byId("found").textContent = `${nth + 1} of ${found.length}`;
  select(`n${found[nth].at}`);
  if (camera.k < READABLE) zoom(READABLE / camera.k);
  follow([item.x - item.w, item.x + item.w, item.y - item.h, item.y + item.h]);
}

function showLegend() {
  const sample = (kind, dash) => {
    const icon = s("svg", { width: 46, height: 12, "aria-hidden": "true" }, s("g", { class: `line ${LINE[kind]}`, style: `--v:${dash}` }, s("path", { d: "M2 6h36", "marker-end": `url(#${{ cut: "tee", dropped: "open" }[kind] ?? "tip"})` })));
    if (kind === "backward") icon.lastChild.style.strokeWidth = 0.6 + 2.2 * dash;
    return icon;
  };
  const most = scene().largest;
  const low = state.scale === "log" ? most * 10 ** -5.5 : 0;
  const there = (kind) => level().views[state.params].paths.some(([one]) => one === kind);
  byId("legend").replaceChildren(...[h("h2", {}, "Lines"),
    h("p", {}, sample("forward", 0), " a value goes forward"),
    h("p", {}, sample("backward", 1), ` a message comes back, norm ${brief(most)}`),
    h("p", {}, sample("backward", 0), ` of norm ${brief(low, 2)}${low ? " or less" : ""}; the larger, the stronger and wider (${state.scale})`),
    h("p", {}, sample("parameter", 0), " a parameter"),
    there("dropped") && h("p", {}, sample("dropped", 0), " dropout: some entries do not pass"),
    there("cut") && h("p", {}, sample("cut", 0), " cut: no message passes")].filter(Boolean));
}

// How large the messages are that pass from one column to the next, frame by frame, as factors of ten.
function buildStrip() {
  const { nodes, edges } = levelOf(CHOICES.level[0][0]);
  const squares = new Map();
  for (const edge of edges) {
    if (edge.cut || edge.message === null || edge.crossing === null || nodes[edge.source].time === null) continue;
    squares.set(edge.back, (squares.get(edge.back) ?? 0) + numeric(edge.message) ** 2);
  }
  const norms = new Map([...squares].map(([frame, square]) => [frame, Math.sqrt(square)]));
  const most = Math.max(0, ...norms.values());
  byId("strip").append(h("span", {}, "messages between steps →")); // beside the frames that send none
  for (let frame = 0; frame <= LAST; frame += 1) {
    const value = norms.get(frame);
    const share = value > 0 ? Math.max(0.06, 1 + Math.log10(value / most) / 8) : 0.06;
    const words = value === undefined ? DATA.captions[frame] : `${DATA.captions[frame]}: norm ${brief(value)} passes on to the next column`;
    const place = `left:${(100 * frame) / LAST}%;width:min(${(LAST > 100 ? 100 : 70) / LAST}%,14px);height:${(100 * share).toFixed(1)}%`;
    byId("strip").append(h("i", { class: value === undefined ? "" : "message", style: place, title: words, "data-frame": frame }));
  }
  byId("strip").addEventListener("click", (event) => { if (event.target.dataset.frame) go(Number(event.target.dataset.frame)); });
}

function buildControls() {
  slider.max = LAST;
  for (const set of document.querySelectorAll("fieldset")) {
    const name = set.dataset.choice;
    for (const [value, text] of CHOICES[name]) {
      const box = h("input", { type: "radio", name, value, change: () => choice(name, value) });
      set.append(h("label", {}, box, text));
    }
    set.hidden = CHOICES[name].length < 2;
  }
  const clicks = { first: () => go(0), back: () => go(state.frame - 1), next: () => go(state.frame + 1), end: () => go(LAST),
    play: () => play(), fit: () => overview(), theme, ask: () => byId("help").showModal() };
  for (const [id, act] of Object.entries(clicks)) byId(id).addEventListener("click", act);
  slider.addEventListener("input", () => go(Number(slider.value)));
  byId("search").addEventListener("input", (event) => search(event.target.value));
  const keys = KEYS.filter(([, shown]) => shown).flatMap(([, shown, words]) => [h("dt", {}, shown.split(" ").map((key) => h("kbd", {}, key))), h("dd", {}, words)]);
  byId("help").append(h("h2", {}, "Keys"), h("dl", {}, keys), h("form", { method: "dialog" }, h("button", {}, "close")));
}

stage.addEventListener("pointerover", (event) => {
  const item = event.target.closest?.(".node")?.item;
  for (const element of svg.querySelectorAll(".near")) element.classList.remove("near");
  if (!item) return;
  for (const edge of [...item.node.into, ...item.node.out].slice(0, 200)) for (const line of scene().lines.get(edge.at) ?? []) line.element.classList.add("near");
});

buildControls();
buildGradients();
buildStrip();
recall();
byId("title").textContent = level().title;
byId("caption").textContent = DATA.captions[state.frame];
measure();
redraw({ moved: true });
addEventListener("hashchange", () => { recall(); redraw(); });
requestAnimationFrame(() => setTimeout(() => { // the first frame is drawn
  document.body.dataset.ready = Math.round(performance.now()); // milliseconds since the page began to load
}));
