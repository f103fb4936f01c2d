// Pan and zoom: wheel (in a frame with ctrl) or + and −, drag or shift + arrows; it follows the frame when that is out of sight.
const camera = { x: 0, y: 0, k: 1, own: false };
const stage = byId("stage");
const holder = s("g", { id: "camera" });
const svg = s("svg", { id: "graph", role: "group", "aria-label": "Values go forward, messages come back" },
  s("defs", {}, marker("tip", 6, "M0 -3L6.5 0L0 3z"), marker("open", 6, "M0 -3L6.5 0L0 3z", "var(--paper)"), marker("small", 5, "M0 -2.3L5.5 0L0 2.3z"),
    marker("tee", 0, "M-1 -5L1 -5L1 5L-1 5z")), holder);
stage.append(svg);
const size = { width: 0, height: 0 }; // measured once, before there is a picture to lay out, and when it changes
const measure = () => { [size.width, size.height] = [stage.clientWidth, stage.clientHeight]; };

function marker(id, length, d, fill = "context-stroke") {
  const box = { viewBox: "-10 -10 20 20", markerWidth: 20, markerHeight: 20, refX: 0, refY: 0 };
  return s("marker", { id, ...box, orient: "auto", markerUnits: "userSpaceOnUse" }, s("path", { d, fill, stroke: fill === "context-stroke" ? "none" : "context-stroke" }));
}

function look() {
  if (svg.hasAttribute("viewBox")) return; // on paper
  holder.setAttribute("transform", `translate(${camera.x.toFixed(2)} ${camera.y.toFixed(2)}) scale(${camera.k.toFixed(4)})`);
  svg.classList.toggle("far", camera.k < 0.33);
  const [left, right] = [-camera.x / camera.k, (size.width - camera.x) / camera.k];
  for (const layer of scene().layers) layer.cull(left, right);
}

const READABLE = 0.9; // numbers on lines are then 8 pixels high
const SMALLEST = 0.2; // columns can then still be told apart

// The whole graph or, where that would be too small to read (or, for all of it, to see), the left end of it.
function fit(all = true) {
  camera.own = false;
  const [x, y, w, height] = scene().bounds;
  const { width, height: room } = size;
  const whole = Math.min(width / w, room / height, 1.6);
  camera.k = all ? Math.max(whole, SMALLEST) : whole > 0.75 ? whole : READABLE;
  camera.x = (camera.k * w <= width ? (width - camera.k * w) / 2 : 0) - camera.k * x;
  camera.y = (room - camera.k * height) / 2 - camera.k * y;
  look();
}

new ResizeObserver(() => {
  if (stage.clientWidth === size.width && stage.clientHeight === size.height) return;
  measure();
  if (camera.own) return;
  fit(false);
  inSight();
}).observe(stage);

function zoom(factor, x = size.width / 2, y = size.height / 2) {
  const k = Math.min(8, Math.max(0.01, camera.k * factor));
  camera.x = x - (x - camera.x) * (k / camera.k);
  camera.y = y - (y - camera.y) * (k / camera.k);
  camera.k = k;
  camera.own = true; // no longer where fit() put it
  look();
}

function pan(dx, dy) {
  camera.x += dx;
  camera.y += dy;
  camera.own = true;
  look();
}

// Bring a part of the graph to the middle, unless it is in sight with some room around it.
function follow([left, right, top, bottom]) {
  const [x, y, w, height] = scene().bounds;
  camera.x = toward(left, right, camera.x, size.width, x, w);
  camera.y = toward(top, bottom, camera.y, size.height, y, height);
  look();
}

// Along one axis: where the graph has to begin. What is larger than the window may reach beyond it.
function toward(low, high, at, room, start, length) {
  const [a, b] = [low * camera.k + at, high * camera.k + at];
  const seen = Math.min(b, room) - Math.max(a, 0);
  if ((a >= 20 && b <= room - 20) || seen >= 0.7 * room) return at;
  const middle = room / 2 - ((low + high) / 2) * camera.k;
  const [first, last] = [-start * camera.k, room - (start + length) * camera.k]; // no empty room beyond the ends
  return last < first ? Math.max(Math.min(middle, first), last) : (first + last) / 2;
}

const framed = window !== window.top;
stage.addEventListener("wheel", (event) => {
  if (framed && !event.ctrlKey && !event.shiftKey) return; // it scrolls the page around the frame
  event.preventDefault();
  const box = stage.getBoundingClientRect();
  if (event.shiftKey) pan(-event.deltaY - event.deltaX, 0);
  else zoom(Math.exp(-event.deltaY * 0.0015), event.clientX - box.left, event.clientY - box.top);
}, { passive: false });

let drag = null;
stage.addEventListener("pointerdown", (event) => { drag = { id: event.pointerId, x: event.clientX, y: event.clientY, moved: false }; });
stage.addEventListener("pointermove", (event) => {
  if (!drag || drag.id !== event.pointerId) return;
  const [dx, dy] = [event.clientX - drag.x, event.clientY - drag.y];
  if (!drag.moved && Math.hypot(dx, dy) < 4) return;
  if (!drag.moved) stage.setPointerCapture(event.pointerId);
  Object.assign(drag, { x: event.clientX, y: event.clientY, moved: true });
  stage.classList.add("moving");
  pan(dx, dy);
});
for (const end of ["pointerup", "pointercancel"]) {
  stage.addEventListener(end, (event) => {
    stage.classList.remove("moving");
    if (end === "pointerup" && drag && !drag.moved) choose(event.clientX, event.clientY);
    drag = null;
  });
}

// What is under the pointer, or so near that it was meant.
function choose(x, y) {
  const near = [[0, 0], ...[4, 8].flatMap((r) => [[r, 0], [-r, 0], [0, r], [0, -r], [r, r], [-r, -r], [r, -r], [-r, r]])];
  for (const [dx, dy] of near) {
    const item = document.elementFromPoint(x + dx, y + dy)?.closest?.(".node, .line")?.item;
    if (item) return select(item.node ? `n${item.node.at}` : `e${item.edge.at}`);
  }
  return select(null);
}

// On paper all of it, however wide the sheet is; of a long one the columns in sight.
addEventListener("beforeprint", () => {
  const [x, y, w, height] = scene().bounds;
  const long = w > 2.5 * size.width;
  const [left, width] = long ? [-camera.x / camera.k, size.width / camera.k] : [x, w];
  svg.setAttribute("viewBox", [left, y, width, height].join(" "));
  holder.removeAttribute("transform");
  svg.classList.remove("far");
  for (const layer of scene().layers) layer.cull(left, left + width);
});
addEventListener("afterprint", () => { svg.removeAttribute("viewBox"); look(); });
