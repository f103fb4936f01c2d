"""What the gallery shows: for each picture its name, a command that draws it, and what there is to see."""

from __future__ import annotations

import contextlib
import io
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Exhibit:
    """One picture: `command` follows `python -m viz`; `make`, where there is one, draws it instead."""

    name: str
    title: str
    command: str
    caption: str
    suffix: str = ".svg"
    make: Callable[[Path], Path] | None = None

    def draw(self, folder: Path) -> Path:
        """Write the picture into a folder; returns its path. Raises ValueError where its command fails."""
        from ..__main__ import main

        path = folder / f"{self.name}{self.suffix}"
        if self.make is not None:
            return self.make(path)
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            status = main([*shlex.split(self.command), "--out", str(path)])
        if status == 1:  # without Graphviz: the text is there
            return path.with_suffix(".dot")
        if status:
            raise ValueError(f"gallery: `python -m viz {self.command}` failed: {said.getvalue().strip()}")
        return path


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


EXHIBITS = (
    Exhibit(
        "helo", "Four letters, unrolled", "",
        "A net that was shown h, e, l, l and has learned to foretell e, l, l, o. A column is a step. Black: values go "
        "forward. Red, dashed: the gradient that each edge hands back, with its norm. Follow them from right to left.",
        make=helo,
    ),
    Exhibit(
        "cell", "A cell, folded", "cell --cell lstm",
        "One step of an LSTM, every op once. The thick lines lead from the new state to the old one of the next step: "
        "c passes a sum and a product only, which is why its messages last. Below: the equations.",
    ),
    Exhibit(
        "cell-gru", "Another cell", "cell --cell gru",
        "A GRU has one state and no sum that it keeps apart: hₜ is a mean of hₜ₋₁ and n, weighted by the gate z.",
    ),
    Exhibit(
        "ops", "Every op", "unroll --cell gru --steps 2 --level op",
        "The same graph, a node an op: where a message splits, and what each op makes of it.",
    ),
    Exhibit(
        "compare", "Vanishing gradients", "compare --cells elmanrnn,lstm --steps 12 --gain 0.5",
        "Two nets on the same input, with a loss at the end alone and recurrent matrices half as large as at first. "
        "The message of the upper one is halved, or worse, at every step; that of the lower one lives on in c.",
    ),
    Exhibit(
        "messages", "Messages both ways", "messages --cell elmanrnn --steps 4 --mode both --identity text",
        "Backward, red, what backpropagation carries; forward, blue, what real-time recurrent learning carries. They "
        "meet at every edge, where three terms add up to the gradient, the same at each.",
    ),
    Exhibit(
        "values", "Messages as numbers", "messages --cell elmanrnn --steps 3 --hidden 3 --batch 1 --mode backward "
        "--show value",
        "The first entries of the messages themselves in place of their norms.",
    ),
    Exhibit(
        "truncation", "What truncation costs", "truncation --cell elmanrnn --steps 8 --way chunks:3",
        "Scissors where truncated backpropagation cuts, each with the norm of the gradient that it throws away, and "
        "below, for each parameter, the share of its gradient that is missing.",
    ),
    Exhibit(
        "random-truncation", "Truncation at random", "truncation --cell elmanrnn --steps 8 --way artbp:3",
        "Cuts at random; the messages that pass are weighted so that on average nothing is missing.",
    ),
    Exhibit(
        "layers", "Layers and dropout", "unroll --cell lstm --layers 2 --dropout 0.5 --steps 4",
        "A lane for each layer. Dashed lines pass dropout, between the layers alone: no state forgets by chance.",
    ),
    Exhibit(
        "directions", "Both directions", "unroll --cell gru --bidirectional --steps 4",
        "The reverse lane runs from right to left, and its messages from left to right.",
    ),
    Exhibit(
        "hand-over", "Encoder and decoder", "unroll --cell gru --context state --steps 3 --hidden 6",
        "All that the decoder knows has passed one edge; one message comes back along it.",
    ),
    Exhibit(
        "attention-graph", "Attention, as a graph", "unroll --cell gru --context attention --steps 3 --hidden 6",
        "With attention there is a message to every step of the encoder, past the chain of states.",
    ),
    Exhibit(
        "long", "Five hundred steps", "unroll --cell gru --steps 500 --loss last --hidden 4 --batch 1",
        "The middle of a long sequence is folded into one column, which sums what comes back to the parameters.",
    ),
    Exhibit(
        "wrapped", "In rows", "unroll --cell elmanrnn --steps 18 --wrap 6 --params hide",
        "A longer run, wrapped like a text: what leaves a row at its right end enters the next one at its left.",
    ),
    Exhibit(
        "norms", "How far messages reach", "norms --cell ElmanRNN GRU LSTM --steps 40",
        "The norm of the message by step, on a logarithmic scale: a straight line falls by the same factor every step.",
    ),
    Exhibit(
        "lag", "Which loss asks which step", "lag --cell GRU --steps 30",
        "Row t, column τ: what the loss of step t adds to the gradient by way of step τ. Truncation keeps a band.",
    ),
    Exhibit(
        "jacobians", "Jacobians", "jacobians --cell ElmanRNN --steps 30",
        "Singular values of the steps and of their products; the slopes of these are the Lyapunov exponents.",
    ),
    Exhibit(
        "clip", "Clipping", "clip --cell ElmanRNN --steps 40 --updates 60",
        "Norms of gradients before and after clipping during a short training.",
    ),
    Exhibit(
        "attention", "What a decoder looks at", "attention --steps 8",
        "A decoder that has learned to write a word backward: the weights of attention run from corner to corner.",
    ),
    Exhibit(
        "gates", "Gates over a text", "gates --cell LSTM --steps 60",
        "How far each gate is open at every character, and how often it is shut or open altogether.",
    ),
    Exhibit(
        "units", "Units over a text", "units --cell LSTM --steps 160",
        "The text coloured by the unit of the state that goes best with being inside quotes, brackets, or indentation.",
    ),
    Exhibit(
        "connect", "What an output depends on", "connect --cell LSTM --steps 80",
        "Norms of the derivatives of one output by each character read so far.",
    ),
    Exhibit(
        "explorer", "Step by step", "explore --cell gru --steps 6",
        "A page of its own: step through time, watch the gradients fill, click an edge for its numbers.", ".html",
    ),
)  # fmt: skip
