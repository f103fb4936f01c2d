"""The temporal order problem: stochastic gradient descent alone, with clipping, and with clipping and the penalty.

A plain net of 50 tanh units reads T symbols and says which of two came first and which second. All three methods begin
with the same weights and see the same sequences. Weights, batch, learning rate and clipping are those of the authors'
published code ("smart tanh"; there the sequences go up to T = 200 and training to 5 million updates). Its penalty is
2 (r² − 1)² for the ratio r of norms, averaged over time; that of the paper, (r − 1)², is as steep around r = 1 with
a weight of 8. Longer sequences take more updates than there is time for by default: with clipping and the penalty the
first net of seed 0 solved T = 50 after 10 000 (``--full``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

import tinygrad_rnn as tg
import zoo
from zoo.experiments import Claim, Result
from zoo.tasks.temporal_order import CLASSES, SYMBOLS, draw

HIDDEN, BATCH, RATE, CLIP, PENALTY = 50, 20, 0.01, 1.0, 8.0
LINKS, RADIUS = 15, 0.95  # how many units one is connected to, and the largest eigenvalue of all, at the start
ERROR = 0.01  # a problem is solved when fewer of 10 000 new sequences are classified wrongly


@dataclass(frozen=True)
class Method:
    """What is done to a gradient: its norm held below ``clip``, that of ``penalty`` times Ω/T added before."""

    name: str
    clip: float = float("inf")
    penalty: float = 0.0


METHODS = (Method("SGD"), Method("SGD-C", CLIP), Method("SGD-CR", CLIP, PENALTY))


@dataclass(frozen=True)
class Sizes:
    """The lengths of sequences, how many nets are trained on each in each way, and how long at most."""

    lengths: tuple[int, ...] = (10, 20, 30)
    nets: int = 4
    updates: int = 4000
    every: int = 100  # updates between two looks at whether the problem is solved


@dataclass(frozen=True)
class Outcome:
    """One net: after how many updates it solved the problem (None: never), and what it was like then.

    ``largest_norm``: of its gradients, penalty included, before clipping.
    """

    length: int
    method: str
    net: int
    solved: int | None
    error: float
    largest_norm: float
    spectral_radius: float


class Net(tg.nn.Module):
    """The plain recurrent net, its last state read by a softmax."""

    def __init__(self, rng: tg.random.Generator) -> None:
        self.cell = zoo.ElmanRNN(len(SYMBOLS), HIDDEN)
        self.head = tg.nn.Linear(HIDDEN, len(CLASSES))
        self.cell.input.weight = tg.nn.parameter(rng.fork("W").normal((len(SYMBOLS), HIDDEN), std=0.01))
        self.cell.U = tg.nn.parameter(sparse(rng.fork("U"), HIDDEN))
        self.head.weight = tg.nn.parameter(rng.fork("V").normal((HIDDEN, len(CLASSES)), std=0.01))
        self.rnn = zoo.RNN(self.cell)

    def forward(self, xs: Any) -> tg.Tensor:
        """Logits (B, 4) of sequences (T, B, 6)."""
        return self.head(self.rnn(xs)[0][-1])

    def spectral_radius(self) -> float:
        return spectral_radius(self.cell.U.numpy())


def spectral_radius(U: np.ndarray) -> float:
    return float(abs(np.linalg.eigvals(U)).max())


def sparse(rng: tg.random.Generator, units: int) -> np.ndarray:
    """Gaussian weights (units, units), ``LINKS`` of each row kept, scaled to a spectral radius of ``RADIUS``."""
    values = rng.fork("values").normal((units, units), dtype="float64").numpy()
    order = rng.fork("places").uniform((units, units)).numpy()
    U = np.where(order.argsort(axis=1).argsort(axis=1) < LINKS, values, 0)
    return (RADIUS / spectral_radius(U) * U).astype(np.float32)


def run(*, full: bool, seed: int, progress: Callable[[str], None]) -> Result:
    """Train all nets at all lengths in all three ways."""
    sizes = Sizes((20, 50, 100, 200), 3, 50_000, 500) if full else Sizes()
    outcomes = []
    for length in sizes.lengths:
        for method in METHODS:
            for net in range(sizes.nets):
                outcomes.append(train(length, method, net, sizes, tg.random.Generator(seed).fork(length, net)))
            progress(_progress(outcomes[-sizes.nets :], method, length))
    return Result(
        header=("T", "method", "solved", "updates", "error", "largest norm", "spectral radius"),
        rows=[_row(found) for _, found in grouped(outcomes)],
        claims=claims(outcomes, sizes.updates),
        numbers=5,
        data={"sizes": asdict(sizes), "outcomes": [asdict(o) for o in outcomes]},
    )


def train(length: int, method: Method, net: int, sizes: Sizes, rng: tg.random.Generator) -> Outcome:
    """One net at one length, until it solves the problem or the updates are used up."""
    model = Net(rng.fork("net"))
    optimizer = tg.optim.SGD(model, lr=RATE)
    unseen = rng.fork("unseen")
    largest, error, solved = 0.0, 1.0, None
    for step, (xs, labels) in enumerate(batches(rng.fork("data"), length, sizes.updates), 1):
        gradients = gradient(model, xs, labels, method)
        try:
            largest = max(largest, tg.optim.clip_by_global_norm(gradients, method.clip))
        except FloatingPointError:  # it has diverged, and stays so
            error = 1.0
            break
        optimizer.step(gradients)
        if step % sizes.every == 0:
            error = wrong(model, unseen, length, 1000)
            if error < ERROR and (error := wrong(model, unseen, length, 10_000)) < ERROR:
                solved = step
                break
    return Outcome(length, method.name, net, solved, error, largest, model.spectral_radius())


def gradient(model: Net, xs: tg.Tensor, labels: tg.Tensor, method: Method) -> dict[str, tg.Tensor]:
    """The gradient of the loss, and where the method has a penalty that of ``penalty · Ω / T`` too."""

    if not method.penalty:
        return tg.grad(lambda model: tg.cross_entropy(model(xs), labels))(model)
    problem = tg.bptt.Problem(model, _step, model.cell.init_state(xs.shape[1]), xs)
    found = tg.bptt.state_messages(problem, lambda model, s: tg.cross_entropy(model.head(s.h[-1]), labels))
    scale = method.penalty / len(xs)
    omega = tg.grad(lambda model: scale * tg.bptt.vanishing_penalty(problem, model, found))(model)
    return {path: g + omega[path] for path, g in found.gradients.items()}


def _step(model: Net, state: Any, x: Any) -> tuple[Any, None]:
    return model.cell.step(x, state)[1], None


def batches(rng: tg.random.Generator, length: int, count: int) -> Iterator[tuple[tg.Tensor, tg.Tensor]]:
    """Inputs (T, B, symbols), one place of each 1, and labels (B,); drawn many at a time."""
    while count > 0:
        together = min(count, 50)
        xs, labels = sequences(rng, length, together * BATCH)
        for i in range(together):
            rows = slice(i * BATCH, (i + 1) * BATCH)
            yield tg.tensor(xs[:, rows]), tg.tensor(labels[rows])
        count -= together


def sequences(rng: tg.random.Generator, length: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    symbols, labels = draw(rng, length, rows)
    return np.eye(len(SYMBOLS), dtype=np.float32)[symbols.numpy()], labels.numpy()


def wrong(model: Net, rng: tg.random.Generator, length: int, rows: int) -> float:
    """The part of new sequences that is classified wrongly."""
    xs, labels = sequences(rng, length, rows)
    with tg.no_grad():
        logits = model(xs)
    return float((logits.numpy().argmax(axis=1) != labels).mean())


def grouped(outcomes: list[Outcome]) -> list[tuple[tuple[int, str], list[Outcome]]]:
    """The outcomes of each length and method."""
    keys = dict.fromkeys((o.length, o.method) for o in outcomes)
    return [(key, [o for o in outcomes if (o.length, o.method) == key]) for key in keys]


def _row(found: list[Outcome]) -> tuple[str, ...]:
    updates = [o.solved for o in found if o.solved]
    return (
        str(found[0].length),
        found[0].method,
        f"{len(updates)}/{len(found)}",
        f"{np.median(updates):.0f}" if updates else "–",
        f"{np.median([o.error for o in found]):.1%}",
        f"{max(o.largest_norm for o in found):.3g}",
        f"{np.median([o.spectral_radius for o in found]):.2f}",
    )


def _progress(found: list[Outcome], method: Method, length: int) -> str:
    return f"T = {length}, {method.name}: {sum(o.solved is not None for o in found)} of {len(found)} nets solve it"


def claims(outcomes: list[Outcome], updates: int) -> list[Claim]:
    """The paper's conclusions beside ours."""
    won = {(o.length, o.method, o.net): o.solved is not None for o in outcomes}
    lengths, nets = sorted({o.length for o in outcomes}), sorted({o.net for o in outcomes})

    def count(name: str, *at: int) -> int:
        return sum(won[length, name, net] for length in at or lengths for net in nets)

    def shown(name: str) -> str:
        return f"{name} " + ", ".join(f"{count(name, length)}/{len(nets)} at T = {length}" for length in lengths)

    def only(name: str, other: str) -> int:
        return sum(won[length, name, net] > won[length, other, net] for length in lengths for net in nets)

    every, long = len(lengths) * len(nets), [length for length in lengths if length > 20]
    return [
        Claim(
            "past 20 steps neither SGD nor SGD with clipping (SGD-C) solves the problem (section 4.1.1)",
            f"{shown('SGD')}; {shown('SGD-C')}",
            count("SGD", *long) + count("SGD-C", *long) == 0,
        ),
        Claim(
            "as long as gradients do not vanish, clipping makes success more frequent (section 4.1.1)",
            f"of {every} nets SGD trains {count('SGD')}, SGD-C {count('SGD-C')}",
            count("SGD-C") > count("SGD"),
        ),
        Claim(
            "with the regulariser as well (SGD-CR) nets learn that do not with clipping alone (figure 7)",
            f"{only('SGD-CR', 'SGD-C')} nets with the regulariser only, {only('SGD-C', 'SGD-CR')} without it only",
            only("SGD-CR", "SGD-C") > 0 and only("SGD-C", "SGD-CR") == 0,
        ),
        Claim(
            "SGD-CR has a success rate of 100 % up to 200 steps (section 4.1.1)",
            f"{shown('SGD-CR')}, within {updates} updates; the authors' code stops after 5 million",
            count("SGD-CR") == every,
        ),
    ]
