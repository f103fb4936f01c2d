// Which frame is shown; the address holds it with what else was chosen: #9/op/backward/e12.
const slider = byId("slider");
let timer = null;

const scene = () => (scenes[`${state.level} ${state.params}`] ??= build(state.level, state.params));

function go(frame, { quiet = false } = {}) {
  state.frame = Math.max(0, Math.min(LAST, Math.round(frame) || 0));
  const now = scene();
  show(now, state.frame);
  showGradients(state.frame);
  slider.value = state.frame;
  slider.setAttribute("aria-valuetext", DATA.captions[state.frame]);
  byId("caption").textContent = DATA.captions[state.frame];
  byId("count").textContent = `${state.frame} / ${LAST}`;
  document.body.dataset.frame = state.frame;
  for (const bar of byId("strip").children) bar.classList.toggle("ahead", Number(bar.dataset.frame) > state.frame);
  if (!quiet) inSight();
  remember();
}

function overview() {
  fit();
  inSight();
}

function inSight() {
  const mirrored = state.frame > DATA.columns + 1 ? LAST + 1 - state.frame : state.frame;
  const reach = scene().reach[mirrored];
  if (reach) follow(reach);
}

// What was chosen changed: another picture, or other lines of it, or other colours.
function redraw({ moved = false } = {}) {
  const now = scene();
  const other = holder.firstChild !== now.root;
  if (now.scale !== state.scale) { paint(now); now.scale = state.scale; }
  svg.classList.toggle("only-forward", state.show === "forward");
  svg.classList.toggle("only-backward", state.show === "backward");
  for (const name of Object.keys(CHOICES)) {
    document.body.dataset[name] = state[name];
    const box = document.querySelector(`input[name="${name}"][value="${state[name]}"]`);
    if (box) box.checked = true;
  }
  byId("title").textContent = level().title;
  if (moved || other) fit(false);
  go(state.frame, { quiet: !moved && !other });
  mark();
  if (other) holder.replaceChildren(now.root); // dressed first, so that it is styled once
  showDetails();
  showLegend();
}

function choice(name, value) {
  if (name === "level" && value !== state.level) state.selected = null;
  state[name] = value;
  redraw();
}

function cycle(name) {
  const values = CHOICES[name].map(([value]) => value);
  choice(name, values[(values.indexOf(state[name]) + 1) % values.length]);
}

function select(what) {
  state.selected = what;
  mark();
  showDetails();
  remember();
}

const matches = new Set();
function mark() {
  const now = scene();
  for (const items of [...now.nodes.values(), ...now.lines.values()]) {
    for (const item of items) {
      const id = item.node ? `n${item.node.at}` : `e${item.edge.at}`;
      const extra = (id === state.selected ? " selected" : "") + (item.node && matches.has(item.node) ? " match" : "");
      if (extra !== item.extra) { item.extra = extra; dress(item, item.when); }
    }
  }
}

function remember() {
  const words = ["level", "params", "show", "scale", "selected"].map((name) => (state[name] === DEFAULTS[name] ? null : state[name]));
  const hash = `#${[state.frame, ...words.filter(Boolean)].join("/")}`;
  if (hash === location.hash) return;
  try {
    history.replaceState(null, "", hash);
  } catch (error) {
    if (error.name !== "SecurityError") throw error; // in the frame of a notebook there is no address to write to
  }
}

function recall() {
  const [frame, ...words] = decodeURIComponent(location.hash.slice(1)).split("/");
  const wanted = { ...DEFAULTS, frame: frame === "" ? LAST : Number(frame) };
  for (const word of words) {
    const name = Object.keys(CHOICES).find((key) => CHOICES[key].some(([value]) => value === word));
    if (name) wanted[name] = word;
    else if (/^[en]\d+$/.test(word)) wanted.selected = word;
  }
  const { nodes, edges } = levelOf(wanted.level);
  if (wanted.selected && !(wanted.selected[0] === "e" ? edges : nodes)[wanted.selected.slice(1)]) wanted.selected = null;
  Object.assign(state, wanted);
}

function play(on = timer === null) {
  clearInterval(timer);
  timer = null;
  if (on) {
    if (state.frame === LAST) go(0);
    timer = setInterval(() => (state.frame < LAST ? go(state.frame + 1) : play(false)), Math.max(120, Math.min(900, 24000 / LAST)));
  }
  byId("play").textContent = on ? "pause" : "play";
  byId("play").setAttribute("aria-pressed", on);
}

// The next line that appears in this frame, for those who use no mouse.
function nextLine(by) {
  const lines = scene().frames[state.frame].filter((item) => item.edge).map((item) => item.edge.at);
  const unique = [...new Set(lines)];
  if (!unique.length) return;
  const at = unique.indexOf(Number(state.selected?.slice(1)));
  select(`e${unique[(at + by + unique.length) % unique.length]}`);
}
