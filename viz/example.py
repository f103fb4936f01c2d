"""A small model with random data, to be drawn: any cell of the zoo under a linear head, next-symbol prediction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tinygrad_rnn as tg
import zoo

LOSSES = ("each", "last")
Model = zoo.RNN | zoo.Stacked | zoo.Bidirectional


class Net(tg.nn.Module):
    """What is drawn: recurrent layers and a linear head on their output."""

    def __init__(self, rnn: Model, classes: int, *, rng: tg.random.Generator) -> None:
        super().__init__()
        self.rnn = rnn
        self.head = tg.nn.Linear(rnn.output_size, classes, rng=rng)


@dataclass(frozen=True)
class Example:
    """What `python -m viz unroll` draws; the defaults are small enough to read."""

    cell: str = "LSTM"
    steps: int = 4
    inputs: int = 4
    hidden: int = 8
    batch: int = 2
    layers: int = 1
    bidirectional: bool = False
    loss: str = "each"
    truncate: int | None = None
    seed: int = 0
    dtype: str = "float32"
    dropout: float = 0.0
    gain: float = 1.0  # of the recurrent matrices, which most cells begin orthogonal
    context: str | None = None  # an encoder that reads the steps and a decoder that writes as many, with this between

    def build(self) -> Callable[[], tg.Tensor]:
        """A function that runs the model over one random sequence and returns its loss.

        Raises ValueError for sizes below 1 and for options that exclude each other.
        """
        if self.context:
            problem = self.problem()
            return lambda: _along(problem)
        net, x, labels = self._made()
        return lambda: self._run(net, x, labels)

    def problem(self) -> tg.bptt.Problem:
        """The same loss, parameters and data as `build` runs, step by step, for the diagnostics of `tg.bptt`.

        Raises ValueError as `build` does, and where the run is no stream of steps or the picture cuts it.
        """
        if self.context:
            return self._encoder_decoder()
        net, x, labels = self._made()
        if self.bidirectional or self.truncate:
            raise ValueError("a run in both directions, or cut, is no problem of one exact gradient, step by step")
        return self._problem(net, x, labels)

    def _problem(self, net: Net, x: tg.Tensor, labels: tg.Tensor) -> tg.bptt.Problem:
        def step(net: Net, state: Any, at: tuple[tg.Tensor, tg.Tensor, bool]) -> tuple[Any, Any]:
            x, label, counts = at
            h, state = net.rnn.step(x, state)
            return state, tg.cross_entropy(net.head(h), label) if counts else None

        counted = [self.loss == "each" or t == self.steps - 1 for t in range(self.steps)]
        state = net.rnn.init_state(self.batch, dtype=x.dtype, device=x.device)
        return tg.bptt.Problem(net, step, state, [(x[t], labels[t], counted[t]) for t in range(self.steps)])

    def _made(self) -> tuple[Net, tg.Tensor, tg.Tensor]:
        for name in ("steps", "inputs", "hidden", "batch", "layers", "truncate"):
            if (size := getattr(self, name)) is not None and size < 1:
                raise ValueError(f"{name} is {size}; it must be 1 or more")
        if self.loss not in LOSSES:
            raise ValueError(f"loss is {self.loss!r}, which is none of {', '.join(LOSSES)}")
        if self.bidirectional and self.truncate:
            raise ValueError("a bidirectional model reads the whole sequence at once; it cannot be truncated")
        rng = tg.random.Generator(self.seed)
        net = Net(self._model(rng.fork("model")), self.inputs, rng=rng.fork("head")).astype(self.dtype)
        symbols = rng.fork("data").integers((self.steps + 1, self.batch), 0, self.inputs)
        x, labels = tg.one_hot(symbols[:-1], classes=self.inputs).astype(self.dtype), symbols[1:]
        if self.gain != 1.0 and not self.bidirectional:
            parameters = net.parameters_by_path()
            for path in tg.bptt.recurrent_parameters(self._problem(net, x, labels)):
                parameters[path].data *= self.gain
        return net, x, labels

    def _encoder_decoder(self) -> tg.bptt.Problem:
        if self.bidirectional or self.truncate or self.layers > 1:
            raise ValueError("the encoder and decoder here have one layer each, one direction, and no cuts")
        make: Any = zoo.get(self.cell)
        rng = tg.random.Generator(self.seed)
        pair = [make(self.inputs, self.hidden, rng=rng.fork(name)) for name in ("encoder", "decoder")]
        kind, decoder = self.context or "state", pair.pop()
        model = zoo.EncoderDecoder(pair[0], decoder, self.inputs, context=kind, go=0, rng=rng.fork("model"))
        xs, targets = (rng.fork(name).integers((self.steps, self.batch), 0, self.inputs) for name in ("xs", "targets"))
        xs = tg.one_hot(xs, classes=self.inputs).astype(self.dtype)
        return model.astype(self.dtype).problem(xs, targets, reduction="sum")

    def _model(self, rng: tg.random.Generator) -> Model:
        make: Any = zoo.get(self.cell)
        layers: list[zoo.RNN | zoo.Bidirectional] = []
        size = self.inputs
        for k in range(self.layers):
            if self.bidirectional:
                pair = [make(size, self.hidden, rng=rng.fork(name, k)) for name in ("forward", "reverse")]
                layers.append(zoo.Bidirectional(*pair))
            else:
                layers.append(zoo.RNN(make(size, self.hidden, rng=rng.fork("forward", k))))
            size = layers[-1].output_size
        if self.layers == 1:
            return layers[0]
        return zoo.Stacked(layers, dropout=self.dropout, rng=rng)

    def _run(self, net: Net, x: tg.Tensor, labels: tg.Tensor) -> tg.Tensor:
        ys = net.rnn(x)[0] if self.bidirectional else None
        state, L = None, tg.tensor(0.0)
        for t in tg.steps(self.steps):
            if ys is not None:
                h = ys[t]
            else:
                if self.truncate and t and t % self.truncate == 0:
                    state = tg.tree.map(tg.detach, state)
                h, state = net.rnn.step(x[t], state)
            if self.loss == "each" or t == self.steps - 1:
                y = net.head(h)
                E = tg.cross_entropy(y, labels[t])
                L = L + E
        return L


def _along(problem: tg.bptt.Problem) -> tg.Tensor:
    """The loss of a problem, step by step."""
    carry, L = problem.carry, tg.tensor(0.0)
    for t in range(len(problem)):
        carry, E = problem.one(problem.parameters, carry, t)
        with tg.scope("time", index=t):
            L = L if E is None else L + E
    return L
