"""How things look; every difference of colour is also one of shape, dash or text."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from .trace import Trace, TraceNode

FONT = "Helvetica"
INK, QUIET, PAPER, BAND = "#1a1a1a", "#5f5f5f", "#ffffff", "#f3f4f6"
FRAME = "#ffffff"
FORWARD, BACKWARD, CUT, SENSITIVITY = "#1a1a1a", "#b3001b", "#6b6b6b", "#0b4f9e"
EM, WIDE, FULL = 0.62, 0.85, 1.1  # widths of letters in units of the font size, on the safe side for any font
SMALL = 9.0  # font size of what stands beside lines


@dataclass(frozen=True, slots=True)
class Card:
    """What a node of some role looks like."""

    name: str
    shape: str
    fill: str
    style: str = "filled"
    border: float = 1.0
    peripheries: int = 1


@dataclass(frozen=True, slots=True)
class Face:
    """What is written on one node, and the size in points that this takes."""

    lines: tuple[tuple[str, float, bool], ...]  # text, font size, bold
    width: float
    height: float


CARDS = {
    card.name: card
    for card in (
        Card("input", "note", "#dceaf7"),
        Card("cell", "box", "#fff1b8", "filled,rounded", 1.6),
        Card("state", "box", "#ffe08a", "filled,rounded", 1.2, 2),
        Card("gate", "box", "#fff1b8", "filled,rounded"),
        Card("other", "ellipse", "#fbe6e9"),
        Card("linear", "box", "#ffffff"),
        Card("output", "box", "#dcf2dc"),
        Card("loss", "octagon", "#f7d4cf", border=1.4),
        Card("total", "box", "#f7d4cf", "filled,rounded", 1.4),
        Card("bar", "box", "#fbe6e9", "filled,rounded"),
        Card("constant", "box", "#ffffff", "filled,dashed"),
        Card("parameter", "cylinder", "#e6e0f3", border=1.2),
        Card("sensitivity", "box", "#e3eefb", border=1.2),
    )
}
SYMBOLS = {
    "add": "+", "sub": "−", "mul": "×", "div": "÷", "neg": "−", "pow": "^", "matmul": "@", "sigmoid": "σ",
    "sum": "Σ", "sqrt": "√", "pick": "[ ]", "getitem": "[ ]",
}  # fmt: skip


def contrast(one: str, other: str) -> float:
    """Contrast of two colours, 1 to 21, as WCAG 2 defines it; text needs 4.5, lines 3.

    >>> round(contrast("#000000", "#ffffff"))
    21
    """

    def luminance(colour: str) -> float:
        channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def card(node: TraceNode, level: str) -> Card:
    """The card of a node: a cell that was folded into one node has one of its own."""
    if node.role == "other" and node.time is None:
        return CARDS["bar"]
    if node.role == "loss" and node.time is None:  # an octagon cannot span the steps
        return CARDS["total"]
    if level == "step" and node.op == "previous":
        return CARDS["state"]
    return CARDS["cell" if level == "cell" and node.role == "state" and node.time is not None else node.role]


def number(value: float) -> str:
    """Three digits at most, as short as can be.

    >>> number(0.012345), number(3.0), number(1.2345e-7), number(1234567.0)
    ('0.0123', '3', '1.23e-7', '1.23e6')
    """
    text = f"{value:.3g}"
    mantissa, e, exponent = text.partition("e")
    return f"{mantissa}e{int(exponent)}" if e else text


def shape_text(shape: Iterable[int]) -> str:
    """(2, 8) as 2×8, a scalar as nothing."""
    return "×".join(str(size) for size in shape)


def text_width(text: str, size: float) -> float:
    """Room for a line of text, in points; node sizes are ours, so this must not be too little in any font."""
    return size * sum(FULL if c > "⺀" else WIDE if c in "@m" or c.isupper() else EM for c in text)


def clip(text: str, letters: int = 24) -> str:
    return text if len(text) <= letters else text[: letters - 1] + "…"


def face(
    node: TraceNode, level: str, *, name: str = "", home: str = "", uses: int = 0, layers: bool = False
) -> Face:
    """What is written on a node, and how large it must be; for a parameter its name, home and number of uses."""
    label, shape = clip(name or node.label or node.op), shape_text(node.shape)
    symbol = SYMBOLS.get(node.op, node.op)
    if node.role == "parameter":
        often = f" × {uses}" if level != "step" else ""  # a step that stands for all uses it every time
        lines = [(label + often, 12.0, True), (" · ".join(part for part in (shape, home) if part), 9.0, False)]
        lines += [(f"‖gradient‖ {number(node.gradient)}", 9.0, False)] if node.gradient is not None else []
        return _fit(lines, pad=14, least=(64, 24 + 12 * len(lines)))
    beginning = "initial state" if node.role == "state" and node.time is None else ""
    if level == "cell":
        arrow = f"{arrow_text(node)} ".lstrip() if node.cell else ""
        layer = layer_text(node) if node.cell and layers else ""
        many = f"… × {node.steps} …" if node.steps > 1 else ""
        lines = [(arrow + label, 13.0, True), (beginning or layer, 9.0, False), (shape, 9.0, False), (many, 9.0, True)]
        return _fit(lines, pad=16, least=(72, 34))
    named = node.label not in ("", node.op)
    lines = [(label if named else symbol, 12.0, named or len(symbol) < 3)]
    plain = node.op in ("leaf", "constant", "pick", "cut", "previous", "given", "output", node.label)
    lines += [(beginning or f"= {symbol}", 9.0, False)] if named and (beginning or not plain) else []
    return _fit(lines, pad=12, least=(36, 26))


def _fit(lines: list[tuple[str, float, bool]], *, pad: float, least: tuple[float, float]) -> Face:
    lines = [line for line in lines if line[0]]
    width = max(text_width(text, size) for text, size, _ in lines) + pad
    height = sum(size * 1.25 for _, size, _ in lines) + 8
    return Face(tuple(lines), max(width, least[0]), max(height, least[1]))


def pen_width(norm: float, largest: float) -> float:
    """Width of a message line: 2.8 points for the largest, 0.4 less for each factor of ten below it, never under 0.6.

    >>> pen_width(5.0, 5.0), pen_width(0.005, 5.0), pen_width(0.0, 5.0)
    (2.8, 1.6, 0.6)
    """
    if not (math.isfinite(norm) and norm > 0 and largest > 0):
        return 0.6
    return round(max(0.6, 2.8 + 0.4 * math.log10(norm / largest)), 2)


def short_names(labels: Iterable[str], others: Iterable[str] = ()) -> dict[str, str]:
    """For each path, the shortest tail that tells it from the rest; one part more where `others` end alike.

    >>> short_names(["cell/input/weight", "cell/input/bias", "cell/U"], ["head/weight"])
    {'cell/input/weight': 'input/weight', 'cell/input/bias': 'bias', 'cell/U': 'U'}
    """

    def tails(label: str) -> list[str]:
        parts = label.split("/")
        return ["/".join(parts[-n:]) for n in range(1, len(parts) + 1)]

    labels = list(labels)
    count = Counter(tail for label in labels for tail in tails(label))
    ends = {tails(label)[0] for label in others}
    short: dict[str, str] = {}
    for label in labels:
        options = [tail for tail in tails(label) if count[tail] == 1] or [label]
        short[label] = options[1] if options[0] in ends and len(options) > 1 else options[0]
    return short


def cell_name(node: TraceNode, *, layers: bool = True) -> str:
    """What a lane of cells is called: its cell and, where there are several, its layer and direction."""
    parts = [node.cell or "step"] + [layer_text(node), node.direction or ""] * layers
    return " · ".join(part for part in parts if part)


def arrow_text(node: TraceNode) -> str:
    return {"forward": "→", "reverse": "←"}.get(node.direction or "", "")


def layer_text(node: TraceNode) -> str:
    return f"layer {node.layer}" if isinstance(node.layer, int) else node.layer or ""


def title(trace: Trace) -> str:
    """What the picture shows, in words."""
    cells = list(dict.fromkeys(node.cell for node in trace.nodes if node.cell))
    layers = list(dict.fromkeys(node.layer for node in trace.nodes if node.cell))
    both = ", both directions" if len({node.direction for node in trace.nodes if node.cell}) > 1 else ""
    what = " + ".join(cells[:3]) + " …" * (len(cells) > 3) if cells else "A recurrent loop"
    named = ", ".join(layer for layer in layers if isinstance(layer, str))
    several = f", {named or f'{len(layers)} layers'}" if len(layers) > 1 else ""
    steps = trace.length
    if not steps:
        return "Every op" if trace.level == "op" else "A computation"
    every = ", op by op" if trace.level == "op" else ""
    return f"{what}{several}{both}, unrolled over {steps} step{'s' * (steps != 1)}{every}"


def story(node: TraceNode) -> str:
    """All that is known about a node, for its tooltip."""
    facts = [node.label or node.op, f"op {node.op}" if node.op not in ("leaf", node.label) else ""]
    facts += [f"shape {tuple(node.shape)}" if node.shape else "scalar", node.dtype, node.scope]
    facts += [f"{node.ops} ops" if node.ops > 1 else ""]
    facts += [f"{name} {value:.4g}" for name, value in node.stats.items()]
    facts += [f"gradient norm {node.gradient:.6g}"] if node.gradient is not None else []
    return " · ".join(fact for fact in facts if fact)
