"""What the gallery shows, in the order of a story: each picture, what there is to see, and what draws it."""

from __future__ import annotations

import contextlib
import io
import shlex
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Exhibit:
    """One picture: what there is to see, in words and as an equation, and how it is made.

    ``command`` follows `python -m viz`; ``make``, where there is one, draws it instead. ``code``: the same picture of
    what `BEGIN` has made, in one line.
    """

    name: str
    title: str
    caption: str
    equation: str
    command: str
    code: str
    suffix: str = ".svg"
    make: Callable[[Path], Path] | None = None

    def draw(self, folder: Path) -> Path:
        """Write the picture into a folder; returns its path, that of a .dot without Graphviz.

        Raises what its command raises, UserError, ValueError or ImportError where it cannot be drawn.
        """
        from ..__main__ import parser

        path = folder / f"{self.name}{self.suffix}"
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore", UserWarning)  # that there is no Graphviz can be seen by what is written
            if self.make is not None:
                return self.make(path)
            options = vars(parser().parse_args([*shlex.split(self.command), "--out", str(path)]))
            del options["command"]
            status = options.pop("run")(**options)
        return path.with_suffix(".dot") if status else path


def helo(path: Path) -> Path:
    """The four-letter net after its training, with the messages of one more step."""
    import tinygrad_rnn as tg
    from zoo.tasks import find

    from ..picture import unroll
    from ..record import trace

    kind = find("helo")
    task = kind(kind.defaults, seed=0, device="cpu")
    optimizer = tg.optim.Adam(task.model, lr=kind.defaults["learning-rate"])
    for step in range(kind.defaults["steps"]):
        optimizer.step(tg.bptt.gradient(task.problem(step, None)).gradients)
    return unroll(trace(task.example), captions=task.captions()).save(path)


BEGIN = """\
import tinygrad_rnn as tg, viz, zoo

text = "hello"                                     # what is read; what comes next is to be foretold
ids = tg.tensor([[0], [1], [2], [2], [3], [0]])    # of one sequence: h, e, l, l, o, h
xs, targets = tg.one_hot(ids[:-1], classes=4), ids[1:]
model = zoo.Synced(zoo.LSTM(4, 8), 4)              # an LSTM of 8 units, and logits of four symbols
problem = model.problem(xs, targets)               # a loss added up along time
trace = viz.trace(problem)                         # its graph, and the messages of its backward pass
other = viz.trace(zoo.Synced(zoo.ElmanRNN(4, 8), 4).problem(xs, targets))
"""

ONE_STEP = (
    Exhibit(
        "cell", "A cell, folded",
        "One step of an LSTM, every op once; the thick lines lead from the new state to the old one of the next step. "
        "c passes a product and a sum only, which is why its messages last.",
        "cₜ = f ∘ cₜ₋₁ + i ∘ g    hₜ = o ∘ tanh cₜ", "cell --cell lstm", 'viz.cell("LSTM")',
    ),
    Exhibit(
        "cell-gru", "Another cell",
        "A GRU has one state. The new one is a mean of the old one and of the candidate n, weighted by the gate z.",
        "hₜ = z ∘ hₜ₋₁ + (1 − z) ∘ n", "cell --cell gru", 'viz.cell("GRU")',
    ),
)  # fmt: skip
UNROLLED = (
    Exhibit(
        "helo", "Four letters, unrolled",
        "A net that was shown h, e, l, l and has learned to foretell e, l, l, o; a column is a step. Black: values go "
        "forward. Red, dashed: the gradient that each edge hands back, with its norm. Follow it from right to left.",
        "zₜ, ℓₜ = step(θ, zₜ₋₁, xₜ)    L = Σₜ ℓₜ", "", 'viz.unroll(trace, captions=text)', make=helo,
    ),
    Exhibit(
        "ops", "Every op",
        "The same kind of graph, a node an op: what each op makes of the message that it gets. Where a value is used "
        "more than once, the messages that come back add up.",
        "y = f(x, …):  ∂L/∂x = ∂L/∂y · ∂y/∂x, summed over all uses of x", "unroll --cell gru --steps 2 --level op",
        'viz.unroll(trace, level="op")',
    ),
    Exhibit(
        "layers", "Layers and dropout",
        "A lane for each layer. Dashed lines pass dropout, between the layers alone, so that no state forgets by "
        "chance.",
        "h²ₜ = cell²(D h¹ₜ, h²ₜ₋₁),  D: dropout", "unroll --cell lstm --layers 2 --dropout 0.5 --steps 4",
        "viz.unroll(viz.trace(zoo.Stacked([zoo.RNN(zoo.GRU(4, 8)), zoo.RNN(zoo.GRU(8, 8))]), xs))",
    ),
    Exhibit(
        "directions", "Both directions",
        "The reverse lane runs from right to left, and its messages from left to right: every output depends on all "
        "that is read.",
        "yₜ = [→hₜ, ←hₜ]", "unroll --cell gru --bidirectional --steps 4",
        "viz.unroll(viz.trace(zoo.Bidirectional(zoo.GRU(4, 8), zoo.GRU(4, 8)), xs))",
    ),
    Exhibit(
        "hand-over", "Encoder and decoder",
        "All that the decoder knows has passed one edge, from the last state of the encoder; one message comes back "
        "along it.",
        "κ = ∂L/∂c,  c the last state of the encoder", "unroll --cell gru --context state --steps 3 --hidden 6",
        'viz.unroll(viz.trace(zoo.EncoderDecoder(zoo.RNN(zoo.GRU(4, 8)), zoo.GRU(4, 8), 4), xs, targets))',
    ),
    Exhibit(
        "attention-graph", "Attention, as a graph",
        "With attention every step of the decoder looks at every step of the encoder, so a message comes back to each "
        "of them, past the chain of states.",
        "cₜ = Σⱼ αₜⱼ hⱼ", "unroll --cell gru --context attention --steps 3 --hidden 6",
        'viz.unroll(viz.trace(zoo.EncoderDecoder(zoo.RNN(zoo.GRU(4, 8)), zoo.GRU(4, 8), 4, context="attention"), xs, '
        'targets))',
    ),
    Exhibit(
        "wrapped", "In rows",
        "A longer run, wrapped like a text. What leaves a row at its right end enters the next one at its left.",
        "zₜ = step(θ, zₜ₋₁, xₜ),  t = 0 … 17", "unroll --cell elmanrnn --steps 18 --wrap 6 --params hide",
        "viz.unroll(trace, wrap=3)",
    ),
    Exhibit(
        "long", "Five hundred steps",
        "The middle of a long sequence is folded into one column. It sums what comes back to the parameters, so that "
        "the total is that of all steps.",
        "∂L/∂θ = Σₜ δₜ ∂⁺zₜ/∂θ", "unroll --cell gru --steps 500 --loss last --hidden 4 --batch 1",
        'viz.unroll(viz.trace(problem, values=True), window=(2, 4))',
    ),
)  # fmt: skip
MESSAGES = (
    Exhibit(
        "messages", "Messages both ways",
        "Backward, red, what backpropagation carries; forward, blue, what real-time recurrent learning carries. They "
        "meet at every edge, where three terms add up to the gradient, the same at each.",
        "∂L/∂θ = Σ_{t ≤ k} gₜ Γₜ + m_k Γ_k + Σ_{t > k} δₜ ∂⁺zₜ/∂θ,  at every edge k → k + 1",
        "messages --cell elmanrnn --steps 4 --mode both --identity text",
        'viz.messages(problem, mode="both", identity="text")',
    ),
    Exhibit(
        "values", "Messages as numbers",
        "The first entries of the messages themselves in place of their norms. Each is made from the one to its right "
        "and the error that enters there.",
        "δₜ = gₜ + mₜ    mₜ = δₜ₊₁ ∂zₜ₊₁/∂zₜ",
        "messages --cell elmanrnn --steps 3 --hidden 3 --batch 1 --mode backward --show value",
        'viz.messages(problem, mode="backward", show="value")',
    ),
    Exhibit(
        "compare", "Vanishing gradients",
        "Two nets on the same input, with a loss at the end alone and recurrent matrices half as large as at first. "
        "The message of the upper one is halved, or worse, at every step; that of the lower one lives on in c.",
        "‖mₜ‖ ≤ ‖∂zₜ₊₁/∂zₜ‖ ‖mₜ₊₁‖", "compare --cells elmanrnn,lstm --steps 6 --gain 0.5",
        "viz.compare(other, trace)",
    ),
)  # fmt: skip
TRUNCATION = (
    Exhibit(
        "truncation", "What truncation costs",
        "Scissors where truncated backpropagation cuts, each with the norm of the gradient that it throws away. Below, "
        "for each parameter, the share of its gradient that is missing.",
        "∂L/∂θ − truncated = Σ_c m_c Γ_c,  c the edges that are cut, Γ begun anew after each",
        "truncation --cell elmanrnn --steps 6 --way chunks:2", 'viz.truncation(problem, "chunks:2")',
    ),
    Exhibit(
        "random-truncation", "Truncation at random",
        "Cuts at random. The messages that pass are weighted so that on average nothing is missing.",
        "mₜ ↦ mₜ / (1 − p), or 0 with the chance p:  the mean is mₜ",
        "truncation --cell elmanrnn --steps 6 --way artbp:3", 'viz.truncation(problem, "artbp:3")',
    ),
)  # fmt: skip
DIAGNOSTICS = (
    Exhibit(
        "norms", "How far messages reach",
        "The norm of the message by step, with a loss at the last step alone, on a logarithmic scale. A straight line "
        "falls by the same factor every step.",
        "δₜ = gₜ + mₜ    mₜ = δₜ₊₁ ∂zₜ₊₁/∂zₜ", "norms --cell ElmanRNN GRU LSTM --steps 40",
        "viz.norms(problem, text=text)",
    ),
    Exhibit(
        "lag", "Which loss asks which step",
        "Row t, column τ: what the loss of step t adds to the gradient by way of step τ. Truncation keeps a band along "
        "the diagonal, and throws the rest away.",
        "C[t, τ] = ∂ℓₜ/∂zτ · ∂⁺zτ/∂θ    Σ C = ∂L/∂θ", "lag --cell GRU --steps 30", "viz.lag(problem, text=text)",
    ),
    Exhibit(
        "jacobians", "Jacobians",
        "Singular values of the steps and of products of more and more of them, and eigenvalues beside the unit "
        "circle. The largest Lyapunov exponent is the slope that the largest of the products tend to.",
        "Jₜ = ∂zₜ/∂zₜ₋₁    σᵢ(J_{T−1} … J_s) ≈ exp(λᵢ (T − s))", "jacobians --cell ElmanRNN --steps 30",
        "viz.jacobians(problem, text=text)",
    ),
    Exhibit(
        "clip", "Clipping",
        "Norms of gradients during a short training. Those above the threshold are scaled down to it, and keep their "
        "direction.",
        "ĝ = g · min(1, threshold / ‖g‖)", "clip --cell ElmanRNN --steps 40 --updates 60 --threshold 0.4",
        "viz.clip([0.5, 3.0, 1.5], threshold=1.0)",
    ),
)  # fmt: skip
PARTS = (
    Exhibit(
        "gates", "Gates over a text",
        "How far each gate of an LSTM that has learned a text is open at every character. At the right a dot for each "
        "unit: how often it is shut, and how often open.",
        "shut: σ(a) < 0.1    open: σ(a) > 0.9", "gates --cell LSTM --steps 60 --updates 300",
        "viz.gates(problem, text=text)",
    ),
    Exhibit(
        "units", "Units over a text",
        "The text coloured by that unit of c which goes best with how far the line is indented, after the net has "
        "learned the text by heart. Bars say the same without colour.",
        "r_k = corrₜ(cₜ[k], indentation at t)",
        "units --cell LSTM --hidden 32 --steps 160 --updates 600 --state c --predicate indentation",
        "viz.units(tg.tanh(xs[:, 0]), text, unit=2)",
    ),
    Exhibit(
        "connect", "What an output depends on",
        "The darker a character, and the longer its bar, the more the logit of the framed step depends on it: how far "
        "back the net looks.",
        "‖∂logitₜ/∂xτ‖,  τ ≤ t", "connect --cell LSTM --steps 80 --updates 300 --at 40 -1",
        "viz.connect(model, xs, text)",
    ),
    Exhibit(
        "attention", "What a decoder looks at",
        "A decoder that has learned to write a word backward: the weights of attention run from corner to corner.",
        "αₜⱼ ≥ 0    Σⱼ αₜⱼ = 1", "attention --steps 8",
        'viz.attention([[0.1, 0.9], [0.8, 0.2]], source=["das", "Haus"], target=["house", "the"])',
    ),
)  # fmt: skip
EXPLORER = (
    Exhibit(
        "explorer", "Step by step",
        "A page of its own: step through time by key or slider, watch the gradients of the parameters fill as messages "
        "arrive, click an edge for its value, its message and the sum of the three terms.",
        "∂L/∂θ = before + across + after, at every edge", "explore --cell gru --steps 6",
        "viz.explore(viz.trace(problem, values=True), problem=problem)", ".html",
    ),
)  # fmt: skip
SECTIONS = {
    "One step": ONE_STEP, "The step, unrolled in time": UNROLLED, "Messages that come back": MESSAGES,
    "Truncation": TRUNCATION, "Do gradients vanish?": DIAGNOSTICS, "What the parts of a net do": PARTS,
    "All of it, step by step": EXPLORER,
}  # fmt: skip
EXHIBITS = tuple(each for section in SECTIONS.values() for each in section)
