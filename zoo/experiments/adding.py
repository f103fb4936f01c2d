"""The adding problem by Hessian-free optimisation, and by gradient descent in the time that this took.

A plain net of 50 tanh units reads T pairs (number, mark) and gives the mean of the two marked numbers, whose range is 1
as that of Hochreiter & Schmidhuber's targets is: an error below their 0.04 counts as right. All methods begin with the
same weights (an orthogonal U) and draw from the same stream; the time is the processor's, so that others who use the
machine change nothing. Learning rates are the best of a few tried at T = 50.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

import tinygrad_rnn as tg
import zoo
from zoo.experiments import Claim, Result
from zoo.tasks.adding import draw

HIDDEN, RIGHT, WRONG = 50, 0.04, 0.01  # solved: fewer than 1 % of new sequences have an error of 0.04 or more
LARGE, CURVATURE, BATCH = 1000, 200, 100  # sequences for Hessian-free's gradient and products; for gradient descent
STRUCTURAL = 0.03

Batch = tuple[tg.Tensor, tg.Tensor]
Update = Callable[[tg.random.Generator], None]


class Net(tg.nn.Module):
    """The plain recurrent net, its last state read by a linear map."""

    def __init__(self, rng: tg.random.Generator) -> None:
        self.rnn = zoo.RNN(zoo.ElmanRNN(2, HIDDEN, rng=rng.fork("cell")))
        self.head = tg.nn.Linear(HIDDEN, 1, rng=rng.fork("head"))

    def forward(self, xs: Any) -> tuple[tg.Tensor, tg.Tensor]:
        """Predictions (B, 1) and hidden states (T, B, H) of sequences (T, B, 2)."""
        hs, _ = self.rnn(xs)
        return self.head(hs[-1]), hs


def sequences(rng: tg.random.Generator, length: int, rows: int) -> Batch:
    """Inputs (T, B, 2) and the means of the marked numbers (B, 1)."""
    xs, sums = draw(rng, length, rows)
    return xs, sums / 2


def loss(predictions: Any, batch: Batch) -> tg.Tensor:
    return tg.mse(predictions, batch[1])


@dataclass(frozen=True)
class Method:
    """A way of training: ``begin(net, length)`` gives the update; ``every``: updates between two looks at the error."""

    name: str
    begin: Callable[[Net, int], Update]
    every: int


def hessian_free(structural: float) -> Callable[[Net, int], Update]:
    def begin(net: Net, length: int) -> Update:
        optimizer = tg.optim.HessianFree(net, damping=0.1, structural=structural)

        def update(rng: tg.random.Generator) -> None:
            xs, targets = batch = sequences(rng, length, LARGE)
            part = (xs[:, :CURVATURE], targets[:CURVATURE])
            optimizer.step(outputs, loss, batch, curvature=part)

        def outputs(batch: Batch) -> Any:
            predictions, hs = net(batch[0])
            return (predictions, hs) if structural else predictions

        return update

    return begin


def descent(kind: Callable[..., tg.optim.Optimizer], **options: float) -> Callable[[Net, int], Update]:
    def begin(net: Net, length: int) -> Update:
        optimizer = kind(net, **options)

        def update(rng: tg.random.Generator) -> None:
            batch = sequences(rng, length, BATCH)
            gradients = tg.grad(lambda net: loss(net(batch[0])[0], batch))(net)
            tg.optim.clip_by_global_norm(gradients, 1.0)
            optimizer.step(gradients)

        return update

    return begin


METHODS = (
    Method("Hessian-free, structural damping", hessian_free(STRUCTURAL), 1),
    Method("Hessian-free", hessian_free(0.0), 1),
    Method("Adam", descent(tg.optim.Adam, lr=1e-3), 50),
    Method("SGD, momentum 0.9", descent(tg.optim.SGD, lr=0.03, momentum=0.9), 50),
)


@dataclass(frozen=True)
class Outcome:
    """One net: whether and when it solved the problem, and what part of new sequences it gets wrong at the end."""

    length: int
    method: str
    solved: bool
    updates: int
    seconds: float
    wrong: float
    error: float  # mean squared


@dataclass(frozen=True)
class Sizes:
    """Lengths of sequences, and for how many seconds the first method is trained at most."""

    lengths: tuple[int, ...] = (50,)
    seconds: float = 42.0


def run(*, full: bool, seed: int, progress: Callable[[str], None]) -> Result:
    """Train one net in each way at each length: by the first until it solves the problem, by the others as long."""
    sizes = Sizes((50, 100, 200), 1800.0) if full else Sizes()
    outcomes: list[Outcome] = []
    for length in sizes.lengths:
        seconds = sizes.seconds
        for method in METHODS:
            outcomes.append(train(length, method, seconds, tg.random.Generator(seed).fork(length)))
            seconds = min(seconds, outcomes[-1].seconds) if method is METHODS[0] else seconds
            progress(_progress(outcomes[-1]))
    return Result(
        header=("T", "method", "wrong", "mean squared error", "updates", "seconds"),
        rows=[_row(o) for o in outcomes],
        claims=claims(outcomes),
        numbers=4,
        data={"sizes": asdict(sizes), "outcomes": [asdict(o) for o in outcomes]},
    )


def train(
    length: int, method: Method, seconds: float, rng: tg.random.Generator, *, clock: Callable = time.process_time
) -> Outcome:
    """One net, until it solves the problem or the seconds are used up."""
    net = Net(rng.fork("net"))
    update, data, unseen = method.begin(net, length), rng.fork("data"), rng.fork("unseen")
    began, updates, solved, spent = clock(), 0, False, 0.0
    while spent < seconds and not solved:
        update(data)
        updates += 1
        if updates % method.every == 0:
            solved = measured(net, unseen, length, 1000)[0] < WRONG and measured(net, unseen, length, 10_000)[0] < WRONG
        spent = clock() - began
    return Outcome(length, method.name, solved, updates, spent, *measured(net, rng.fork("test"), length, 10_000))


def measured(net: Net, rng: tg.random.Generator, length: int, rows: int) -> tuple[float, float]:
    """The part of new sequences with an error of 0.04 or more, and the mean squared error."""
    xs, targets = sequences(rng, length, rows)
    with tg.no_grad():
        errors = (net(xs)[0] - targets).numpy()
    return float((abs(errors) >= RIGHT).mean()), float(np.square(errors, dtype=np.float64).mean())


def _row(o: Outcome) -> tuple[str, ...]:
    return (str(o.length), o.method, f"{o.wrong:.1%}", f"{o.error:.5f}", str(o.updates), f"{o.seconds:.0f}")


def _progress(o: Outcome) -> str:
    return f"T = {o.length}, {o.method}: {o.wrong:.1%} wrong after {o.updates} updates, {o.seconds:.0f} s"


def claims(outcomes: list[Outcome]) -> list[Claim]:
    """The paper's conclusions beside ours."""
    by = {(o.length, o.method): o for o in outcomes}
    lengths = sorted({o.length for o in outcomes})
    first, _, *others = (m.name for m in METHODS)

    def shown(name: str) -> str:
        return f"{name}: " + ", ".join(
            f"{o.wrong:.1%} wrong after {o.seconds:.0f} s" + (f" at T = {length}" if len(lengths) > 1 else "")
            for length in lengths
            for o in [by[length, name]]
        )

    return [
        Claim(
            "Hessian-free optimisation with structural damping trains plain recurrent nets on long-term dependencies "
            "(Martens & Sutskever 2011)",
            shown(first),
            all(by[length, first].solved for length in lengths),
        ),
        Claim(
            "standard optimisation is known to fail on them (the same; here asked: in the time that this took)",
            "; ".join(map(shown, others)) + "; with an orthogonal U and clipping they may learn it later",
            not any(by[length, name].solved for length in lengths for name in others),
        ),
    ]
