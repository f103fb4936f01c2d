"""The explorer's page in a headless browser: what each frame shows, what keys and clicks do, and how it looks."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import viz
from tests.viz.samples import SAMPLES
from tests.viz.test_explorer import STEPS, example
from viz.browser import Browser, find
from viz.example import Example
from viz.fold import fold_cells
from viz.style import contrast

HOSTILE = '"q" <i>&lt; </script><script>alert(1)</script> a:b\n長い שלום \u202e \\u0041'

# Where a run of all tests must have a browser (CI), its absence is an error and no reason to skip.
needs_browser = pytest.mark.skipif(
    not find() and "CI" not in os.environ, reason="no Chromium to open the page in: apt install chromium"
)


@pytest.fixture(scope="module")
def page() -> str:
    trace, problem, _ = example()
    return viz.explore(trace, problem=problem).html


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as one:
        yield one


KEYS = """
const press = (key, more = {}) => (document.activeElement ?? document.body).dispatchEvent(
  new KeyboardEvent("keydown", {key, bubbles: true, cancelable: true, ...more}));
const shown = (selector) => [...document.querySelectorAll(selector)].map((e) => e.textContent);
"""


def browse(browser: Browser, folder: Path, page: str, script: str, **media: Any) -> Any:
    """Open a page, run a script in it, and return what the script left in `log`."""
    path = folder / "page.html"
    path.write_text(page, "utf-8")
    return opened(browser, path.as_uri(), script, **media)


def opened(browser: Browser, address: str, script: str, **media: Any) -> Any:
    tab = browser.open(address, **media)
    log = tab.run(f"(async () => {{ const log = {{}}; {KEYS} {script}; return log; }})()")
    assert tab.complaints == []
    tab.close()
    return log


STEP_THROUGH = """
const states = () => Object.fromEntries([...document.querySelectorAll("#graph [id^=n], #graph [id^=e]")].map(
  (e) => [e.id, ["todo", "now", "done"].find((word) => e.classList.contains(word))]));
const look = () => ({ frame: Number(document.body.dataset.frame), hash: location.hash, states: states(),
  norms: [...document.querySelectorAll(".gradient")].map((e) => Number(e.dataset.norm)),
  caption: document.getElementById("caption").textContent });
log.opened = look();
press("Home"); log.on = [look()];
for (let k = 0; k < LAST; k += 1) { press("ArrowRight"); log.on.push(look()); }
press("ArrowRight"); log.beyond = look().frame;
log.back = [];
for (let k = 0; k <= LAST; k += 1) { log.back.unshift(look()); press("ArrowLeft"); }
const slider = document.getElementById("slider");
slider.value = 3; slider.dispatchEvent(new Event("input")); log.slid = look();
const all = [...document.querySelectorAll("[id]")].map((e) => e.id);
log.twice = all.length - new Set(all).size;
const items = [...document.querySelectorAll("#graph .node, #graph .line")];
log.untitled = items.filter((e) => !e.querySelector("title")?.textContent).length;
"""


@needs_browser
def test_every_frame_lights_what_the_schedule_says_forward_and_back(
    browser: Browser, page: str, tmp_path: Path
) -> None:
    data = example()[2]
    level = data["levels"]["cell"]
    last = len(data["captions"]) - 1
    log = browse(browser, tmp_path, page, STEP_THROUGH.replace("LAST", str(last)))
    assert log["opened"]["frame"] == log["beyond"] == last and log["twice"] == log["untitled"] == 0
    assert log["on"] == log["back"] and log["slid"] == log["on"][3]
    when = {f"n{place}": node[11] for place, node in enumerate(level["nodes"])}
    for place, edge in enumerate(level["edges"]):
        when[f"e{place}f"] = edge[5]
        when |= {f"e{place}b": edge[6]} if edge[3] is not None else {}
    for frame, found in enumerate(log["on"]):
        assert (found["frame"], found["hash"]) == (frame, f"#{frame}")
        assert found["caption"] == data["captions"][frame]
        word = {name: "done" if not at or at < frame else "now" if at == frame else "todo" for name, at in when.items()}
        assert found["states"] == word
        for norm, parameter in zip(found["norms"], data["parameters"], strict=True):
            assert norm == ([0] + [step[2] for step in parameter["steps"] if step[0] <= frame])[-1]


TOGGLES = """
const is = () => ({...document.body.dataset});
const all = (selector) => [...document.querySelectorAll(selector)];
const visible = (selector) => all(selector).filter((e) => getComputedStyle(e).display !== "none").length;
const widths = () => all("#graph .backward").map((e) => Number(e.style.strokeWidth));
const lines = () => [visible("#graph .forward"), visible("#graph .backward")];
log.start = is(); log.lines = lines(); log.log = widths();
press("b"); log.forward = [is().show, lines()]; press("b"); log.backward = is().show; press("b"); log.both = is().show;
press("c"); log.linear = widths(); press("c");
press("p"); log.repeat = [is().params, visible(".node.parameter"), location.hash]; press("p");
press("l"); log.op = [is().level, visible(".node"), document.getElementById("title").textContent]; press("l");
press("/"); log.typing = document.activeElement.id;
const box = document.activeElement; box.value = "lstm t=2"; box.dispatchEvent(new Event("input"));
log.found = [document.getElementById("found").textContent, visible(".node.match")];
press("Enter"); log.first = shown("#details h2")[0]; press("Escape"); box.blur();
const help = document.getElementById("help"); press("?"); log.help = [help.open, shown("#help kbd")]; help.close();
press("Home"); for (let k = 0; k < 9; k += 1) press(".");
press("n"); log.next = [location.hash, shown("#details h2")[0]]; press("Escape"); log.none = location.hash;
const camera = () => document.getElementById("camera").getAttribute("transform");
const before = camera(); press("+"); log.zoomed = camera() !== before; press("0");
press("ArrowUp", {shiftKey: true}); log.panned = camera() !== before;
const paper = () => document.getElementById("graph").getAttribute("viewBox");
dispatchEvent(new Event("beforeprint")); press("+"); log.printed = [paper(), camera()];
dispatchEvent(new Event("afterprint")); log.after = paper(); press("0");
const path = document.querySelector("#e15b path"), middle = path.getPointAtLength(path.getTotalLength() / 2);
const {x, y} = middle.matrixTransform(path.getScreenCTM()), at = {clientX: x, clientY: y + 3, bubbles: true};
const under = document.elementFromPoint(x, y + 3);
for (const type of ["pointerdown", "pointerup"]) under.dispatchEvent(new PointerEvent(type, at));
log.clicked = [location.hash, shown("#details h2"), document.querySelector(".message").dataset.norm];
log.sums = all("tbody.group").map(({dataset: d}) => [Number(d.sum), Number(d.norm), JSON.parse(d.along)]);
"""


@needs_browser
def test_keys_choose_what_is_shown_and_a_click_tells_all_about_a_line(
    browser: Browser, page: str, tmp_path: Path
) -> None:
    trace, _, data = example()
    log = browse(browser, tmp_path, page, TOGGLES)
    assert {name: log["start"][name] for name in ("show", "level", "params", "scale")} == {
        "show": "both", "level": "cell", "params": "shared", "scale": "log"
    }  # fmt: skip
    forward, backward = log["lines"]
    assert backward == sum(e.message is not None for e in fold_cells(trace).edges)
    assert log["forward"] == ["forward", [forward, 0]] and log["backward"] == "backward" and log["both"] == "both"
    cells = fold_cells(trace)
    parameters = {node.id for node in cells.parameters}
    joint: dict[str, float] = {}  # the lines of the parameters of a step run together
    for e in cells.edges:
        if e.source in parameters and e.message is not None:
            joint[e.target] = float(np.hypot(joint.get(e.target, 0.0), e.message))
    norms = [joint[e.target] if e.source in parameters else e.message for e in cells.edges if e.message is not None]
    most = max(e.message or 0 for e in cells.edges)
    strengths = [max(0, 1 + np.log10(m / most) / 5.5) if m else 0 for m in norms]
    assert log["log"] == pytest.approx([0.6 + 2.2 * s for s in strengths], abs=0.011)
    assert log["linear"] == pytest.approx([0.6 + 2.2 * m / most for m in norms], abs=0.011)
    assert log["repeat"] == ["repeat", 5 * STEPS, "#10/repeat"]
    assert log["op"] == ["op", len(trace.nodes), "LSTM, unrolled over 4 steps, op by op"]
    assert log["typing"] == "search" and log["found"] == ["1 found", 1] and log["first"] == "LSTM (t=2)"
    assert log["help"][0] and {"→", "Home", "space", "/", "?"} <= set(log["help"][1])
    assert log["next"][0].startswith("#9/e") and "(t=1)" in log["next"][1] and log["none"] == "#9"
    assert log["zoomed"] and log["panned"]
    bounds = data["levels"]["cell"]["views"]["shared"]["bounds"]
    assert log["printed"] == [" ".join(map(str, bounds)), None] and log["after"] is None
    edge = cells.edges[15]
    assert log["clicked"][:2] == ["#9/e15", ["LSTM (t=0) → LSTM (t=1)", "The gradient, seen from the edge into t = 1"]]
    assert float(log["clicked"][2]) == pytest.approx(edge.message, rel=1e-11)
    for (total, norm, along), row in zip(log["sums"], data["identity"]["edges"][1], strict=True):
        assert total == pytest.approx(norm, rel=1e-10) and along == row[3:6]


@needs_browser
def test_any_text_is_shown_as_it_is_and_never_run(browser: Browser, tmp_path: Path) -> None:
    trace = SAMPLES["one LSTM"]()
    nodes = [replace(node, label=HOSTILE, scope=HOSTILE) for node in trace.nodes]
    odd = replace(trace, nodes=nodes, title=HOSTILE, note=HOSTILE)
    script = """
    log.title = document.getElementById("title").textContent; log.scripts = document.scripts.length;
    log.note = shown("#gradients bdi")[0]; press("n"); log.heading = shown("#details bdi")[0];
    log.node = document.querySelector("#n0 title").textContent;
    log.italics = document.querySelectorAll("i:not([data-frame])").length;
    """
    log = browse(browser, tmp_path, viz.explore(odd).html, script)
    assert log["title"] == log["note"] == HOSTILE
    assert log["heading"].startswith(HOSTILE) and log["node"].startswith(HOSTILE)
    assert (log["scripts"], log["italics"]) == (5, 0)  # data, two levels, arrays, the page's script


COLOURS = """
const probe = document.body.appendChild(document.createElement("i"));
const colour = (name) => { probe.style.color = `var(--${name})`; return getComputedStyle(probe).color; };
for (const theme of ["light", "dark"]) {
  document.documentElement.style.colorScheme = theme;
  log[theme] = Object.fromEntries(NAMES.map((name) => [name, colour(name)]));
}
press("Home"); for (let k = 0; k < 9; k += 1) press("ArrowRight");
log.moves = [...document.querySelectorAll(".backward.now")].map((e) => getComputedStyle(e).animationName);
const dash = (kind) => getComputedStyle(document.querySelector(`.line.${kind}`)).strokeDasharray;
log.dashes = ["forward", "backward"].map(dash);
"""
FILLS = ("input", "cell", "state", "gate", "other", "bar", "output", "loss", "constant", "parameter")


@needs_browser
def test_colours_have_contrast_in_both_themes_lines_differ_in_dashes_and_nothing_moves_unasked(
    browser: Browser, page: str, tmp_path: Path
) -> None:
    names = ["paper", "band", "ink", "quiet", "accent", "back", "low", "high", *FILLS]
    log = browse(browser, tmp_path, page, COLOURS.replace("NAMES", json.dumps(names)), prefers_reduced_motion="reduce")
    for theme in ("light", "dark"):
        parts = {name: re.findall(r"\d+", rgb)[:3] for name, rgb in log[theme].items()}
        colours = {name: "#" + "".join(f"{int(v):02x}" for v in part) for name, part in parts.items()}
        for text in ("ink", "quiet", "accent", "back"):
            assert contrast(colours[text], colours["paper"]) >= 4.5, (theme, text)
        for fill in FILLS:
            assert contrast(colours["ink"], colours[fill]) >= 4.5, (theme, fill)
        for line in ("low", "high", "quiet"):
            assert min(contrast(colours[line], colours[behind]) for behind in ("paper", "band")) >= 3, (theme, line)
    assert set(log["moves"]) == {"none"} and log["dashes"][0] == "none" != log["dashes"][1]


@needs_browser
def test_every_kind_of_graph_opens_at_every_level_in_the_frames_of_a_notebook(browser: Browser, tmp_path: Path) -> None:
    pages = [viz.explore(sample())._repr_mimebundle_()["text/html"] for sample in SAMPLES.values()]
    script = """
    log.found = Array.from(frames).map(({ document: { body }, KeyboardEvent }) => ["l", "p", "l", "p"].map((last) => {
      const press = (key) => body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
      ["Home", "End", last].forEach(press);
      return [body.querySelectorAll("#graph .node").length, body.dataset.level, body.dataset.params];
    }))"""
    notebook = tmp_path / "notebook.html"
    notebook.write_text(f"<!DOCTYPE html><body>{''.join(pages)}", "utf-8")
    log = opened(browser, notebook.as_uri(), script)
    for sample, found in zip(SAMPLES.values(), log["found"], strict=True):
        trace = sample()
        assert found[-1][1:] == ["cell" if trace.steps else "op", "shared"]
        assert {count for count, level, params in found if (level, params) == ("op", "shared")} == {len(trace.nodes)}


# Pictures of the page, for people to look at: kept in the folder that this variable names

SCREENSHOTS = "TINYGRAD_RNN_SCREENSHOTS"
WINDOWS: dict[str, tuple[str, str, tuple[int, int], dict[str, Any]]] = {  # page, what the address says, size, media
    "wide": ("short", "#8/e15", (2400, 900), {}),
    "tablet": ("short", "#8/e15", (900, 1100), {}),
    "phone": ("short", "#8", (420, 800), {}),
    "dark": ("short", "#8/e15", (1400, 850), {"prefers_color_scheme": "dark"}),
    "ops": ("short", "#8/op", (1400, 850), {}),
    "ops-repeated": ("short", "#8/op/repeat", (1400, 850), {}),
    "repeated": ("short", "#8/repeat", (1400, 850), {}),
    "names": ("names", "", (1400, 850), {}),
    "long": ("long", "#400", (1400, 850), {}),
    "long-ops": ("long", "#400/op", (1400, 850), {}),
}
NAMED = ("a <b> & \"c\": d", "וֶקְטוֹר × 2", "重み行列", "وزن", "θ'")
LAID_OUT = """
const inside = (a, b, more = 0.5) =>
  a.left >= b.left - more && a.right <= b.right + more && a.top >= b.top - more && a.bottom <= b.bottom + more;
const box = (e) => e.getBoundingClientRect();
const screen = { left: 0, top: 0, right: innerWidth, bottom: innerHeight };
const about = (e) => e.textContent || e.id || e.className;
const all = (selector) => [...document.querySelectorAll(selector)].filter((e) => box(e).width);
log.sideways = document.documentElement.scrollWidth - innerWidth;
log.outside = all("header *, footer *").filter((e) => e.type !== "radio" && !inside(box(e), screen, 1)).map(about);
log.cut = all("aside .sum, aside h2, aside p, #title, button").filter((e) => e.scrollWidth > e.clientWidth + 1)
  .map(about);
log.wide = all("#graph .node").filter((node) => [...node.querySelectorAll("text")].some(
  (text) => !inside(box(text), box(node.querySelector(".shape")), 2))).map(about);
log.zoom = Number(/scale\\((.*)\\)/.exec(document.getElementById("camera").getAttribute("transform"))[1]);
log.now = all("#graph .now").filter((e) => !(box(e).right < box(document.getElementById("stage")).left
  || box(e).left > box(document.getElementById("stage")).right)).length;
"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A short run, one with names in several scripts, and a long one: addresses of their pages."""
    trace, problem, _ = example()
    odd = dict(zip([node.id for node in trace.parameters], NAMED, strict=True))
    long = viz.trace(Example(cell="ElmanRNN", steps=300, dtype="float64").build(), values=True)
    shown = {
        "short": viz.explore(trace, problem=problem),
        "names": viz.explore(replace(trace, nodes=[replace(n, label=odd.get(n.id, n.label)) for n in trace.nodes])),
        "long": viz.explore(long),
    }
    folder = tmp_path_factory.mktemp("pages")
    return {name: page.save(folder / f"{name}.html").as_uri() for name, page in shown.items()}


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    folder = Path(os.environ.get(SCREENSHOTS) or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def size_of_png(path: Path) -> tuple[int, int]:
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n" and len(data) > 10_000, f"{path} shows nothing"
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


@needs_browser
def test_three_hundred_steps_open_in_seconds_and_take_a_megabyte_for_a_thousand_nodes(
    browser: Browser, pages: dict[str, str]
) -> None:
    script = """
    document.getElementById("graph").getBoundingClientRect(); log.laid = performance.now();
    press("ArrowLeft"); log.frame = document.body.dataset.frame;
    log.nodes = JSON.parse(document.getElementById("level-op").textContent).nodes.length;"""
    times: list[float] = []  # of up to three, since others use this machine too
    while len(times) < 3 and min(times, default=2000) >= 2000:
        log = opened(browser, pages["long"], script)
        assert log["frame"] == "601"
        times.append(log["laid"])
    assert min(times) < 20_000, times  # ten times what it takes is no slow machine but a slow page
    assert log["nodes"] > 3000 and Path(pages["long"].removeprefix("file://")).stat().st_size <= 1000 * log["nodes"]


@needs_browser
def test_of_a_long_run_fit_shows_as_many_columns_as_can_be_told_apart_with_those_of_the_frame(
    browser: Browser, pages: dict[str, str]
) -> None:
    script = """
    press("0");
    log.zoom = Number(/scale\\((.*)\\)/.exec(document.getElementById("camera").getAttribute("transform"))[1]);
    const box = (e) => e.getBoundingClientRect(), stage = box(document.getElementById("stage"));
    const seen = (e) => box(e).right > 0 && box(e).left < stage.right;
    log.steps = [...document.querySelectorAll("#graph .time")].filter(seen).map((e) => e.textContent);"""
    log = opened(browser, pages["long"] + "#400", script)
    assert log["zoom"] == 0.2 and "t = 202" in log["steps"] and 20 < len(log["steps"]) < 60


@needs_browser
@pytest.mark.parametrize("name", WINDOWS)
def test_in_any_window_it_opens_readable_with_all_controls_in_sight(
    browser: Browser, pages: dict[str, str], kept: Path, name: str
) -> None:
    page, address, size, media = WINDOWS[name]
    tab = browser.open(pages[page] + address, width=size[0], height=size[1], **media)
    log = tab.run(f"(() => {{ const log = {{}}; {LAID_OUT} return log; }})()")
    assert log["sideways"] <= 0 and log["outside"] == [] and log["cut"] == [] and log["wide"] == []
    assert log["zoom"] >= 0.75 and log["now"] > 0
    assert size_of_png(tab.picture(kept / f"explorer-{name}.png")) == size
    assert tab.complaints == []
    tab.close()


@needs_browser
def test_every_frame_has_a_picture_unlike_the_others(browser: Browser, pages: dict[str, str], kept: Path) -> None:
    tab = browser.open(pages["short"] + "#0", prefers_reduced_motion="reduce")
    found = []
    for frame in range(len(example()[2]["captions"])):
        assert tab.run("document.body.dataset.frame") == str(frame)
        found.append(tab.picture(kept / f"explorer-frame-{frame:02}.png"))
        assert size_of_png(found[-1]) == (1400, 850)
        tab.run(f"(() => {{ {KEYS} press('ArrowRight'); }})()")
    assert len({path.read_bytes() for path in found}) == len(found) == 2 * STEPS + 3
    assert tab.complaints == []
    tab.close()


@needs_browser
def test_it_works_inside_of_the_gallery_where_the_wheel_scrolls_and_alone(browser: Browser, tmp_path: Path) -> None:
    index = viz.gallery(tmp_path / "gallery", only=["explorer"])
    script = """
    const { document: { body }, KeyboardEvent, WheelEvent } = document.querySelector("iframe").contentWindow;
    body.dispatchEvent(new KeyboardEvent("keydown", { key: "Home", bubbles: true })); log.frame = body.dataset.frame;
    const turn = (more) => !body.querySelector("#stage").dispatchEvent(
      new WheelEvent("wheel", { deltaY: 50, cancelable: true, ...more }));
    log.turned = [turn({}), turn({ ctrlKey: true })];
    log.links = [...document.querySelectorAll("figure a")].map((a) => a.href);"""
    log = opened(browser, index.as_uri(), script)
    assert log == {"frame": "0", "turned": [False, True], "links": [(index.parent / "explorer.html").as_uri()]}
    alone = opened(browser, log["links"][0], "log.frame = document.body.dataset.frame; press('Home')")
    assert alone == {"frame": "14"}


@needs_browser
@pytest.mark.parametrize("page", ["short", "long"])
def test_it_prints_on_one_sheet(browser: Browser, pages: dict[str, str], kept: Path, page: str) -> None:
    tab = browser.open(pages[page])
    sheet = tab.print(kept / f"explorer-print-{page}.pdf", landscape=True).read_bytes()
    assert sheet.startswith(b"%PDF") and re.findall(rb"/Type\s*/Pages.*?/Count (\d+)", sheet, re.DOTALL) == [b"1"]
    tab.close()
