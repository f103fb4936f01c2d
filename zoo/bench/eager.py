"""The eager engine beside eager PyTorch: one op of each kind, and an LSTM's training step in a Python loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np

import tinygrad_rnn as tg
import zoo
from zoo.bench.measure import by_turns
from zoo.bench.plan import EAGER

CHAIN = 50  # ops in a row before the backward pass, as in an unrolled net


class Contest(NamedTuple):
    """One line of the table: the same work on both sides, and the share of torch's time that ours must stay below."""

    name: str
    ours: Callable[[], Any]
    theirs: Callable[[], Any]
    limit: float


def measure(rounds: int, threads: int, quick: bool) -> Iterator[dict[str, Any]]:
    """For each contest its name, its limit and the seconds of both in all rounds."""
    import torch

    torch.set_num_threads(threads)
    for contest in (*op_contests(torch, ((8, 8),) if quick else ((8, 8), (32, 32))), *lstm_contests(torch)):
        seconds = by_turns({"ours": contest.ours, "torch": contest.theirs}, rounds)
        yield {"name": contest.name, "limit": contest.limit, "seconds": seconds}


def op_contests(torch: Any, shapes: tuple[tuple[int, int], ...]) -> Iterator[Contest]:
    """A chain of one op on a small array, forward and backward, with gradients into every argument."""
    rng = np.random.default_rng(0)
    unary = ("tanh", "sigmoid", "exp", "relu")
    binary: dict[str, Callable[[Any, Any], Any]] = {
        "add": lambda a, b: a + b,
        "mul": lambda a, b: a * b,
        "matmul": lambda a, b: a @ b,
    }
    for shape in shapes:
        start = (rng.standard_normal(shape) * 0.1).astype(np.float32)
        weight = (rng.standard_normal(shape) * 0.1).astype(np.float32)
        for name in (*unary, *binary):

            def chain(name: str, library: Any, x: Any, w: Any) -> None:
                y = x
                if name in binary:
                    for _ in range(CHAIN):
                        y = binary[name](y, w)
                else:
                    op = getattr(library, name)
                    for _ in range(CHAIN):
                        y = op(-y)  # the sign keeps exp from growing without bound
                y.sum().backward()

            ours = [tg.tensor(a, requires_grad=True) for a in (start, weight)]
            theirs = [torch.tensor(a, requires_grad=True) for a in (start, weight)]
            yield Contest(
                f"{CHAIN} × {name} {shape}", partial(chain, name, tg, *ours), partial(chain, name, torch, *theirs),
                EAGER["op"],
            )  # fmt: skip


def lstm_contests(torch: Any) -> Iterator[Contest]:
    """One training step of the LSTM (forward, loss, all gradients, plain SGD), as zoo runs it and as a torch loop."""
    for T, B, H in ((100, 32, 128), (64, 1, 32)):
        x = np.random.default_rng(0).standard_normal((T, B, H)).astype(np.float32)
        cell = zoo.LSTM(H, H)
        rnn = zoo.RNN(cell, compile=False)
        optimizer = tg.optim.SGD(rnn, lr=1e-3)

        def ours(rnn: Any = rnn, optimizer: Any = optimizer, x: Any = x) -> None:
            ys, _ = rnn(tg.tensor(x))
            (ys * ys).mean().backward()
            optimizer.step()
            optimizer.zero_grad()

        values = cell.state_dict()
        W, U, b = (torch.tensor(values[k], requires_grad=True) for k in ("input/weight", "U", "input/bias"))
        series = torch.tensor(x)
        sgd = torch.optim.SGD([W, U, b], lr=1e-3)

        def theirs(W: Any = W, U: Any = U, b: Any = b, sgd: Any = sgd, x: Any = series) -> None:
            h = c = torch.zeros(x.shape[1], U.shape[0])
            ys = []
            for t in range(len(x)):
                i, f, g, o = (x[t] @ W + b + h @ U).chunk(4, 1)
                c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
                h = torch.sigmoid(o) * torch.tanh(c)
                ys.append(h)
            (torch.stack(ys) ** 2).mean().backward()
            sgd.step()
            sgd.zero_grad()

        yield Contest(f"LSTM step (T, B, H) = {(T, B, H)}", ours, theirs, EAGER[T, B, H])
