"""Ratios of our time to PyTorch's, both eager, in one interleaved run: ``python -m zoo bench --eager``.

Each round runs every contestant once, in turn, so a machine that slows down slows all of them; what is printed is the
median over the rounds and the ratio of the medians. Threads are fixed on both sides before either library loads.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from zoo.commands import COUNT, Parser
from zoo.errors import UserError

CHAIN = 50  # ops in a row before the backward pass, as in an unrolled net
THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


class Contest(NamedTuple):
    """One line of the table: the same work on both sides, and the ratio that it must stay below."""

    name: str
    ours: Callable[[], Any]
    theirs: Callable[[], Any]
    repeat: int
    limit: float


def op_contests(torch: Any) -> Iterator[Contest]:
    """A chain of one op on a small array, forward and backward, with gradients into every argument."""
    import tinygrad_rnn as tg

    rng = np.random.default_rng(0)
    unary = ("tanh", "sigmoid", "exp", "relu")
    binary: dict[str, Callable[[Any, Any], Any]] = {
        "add": lambda a, b: a + b,
        "mul": lambda a, b: a * b,
        "matmul": lambda a, b: a @ b,
    }
    for shape in ((8, 8), (32, 32)):
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
                f"{CHAIN} × {name} {shape}",
                partial(chain, name, tg, *ours),
                partial(chain, name, torch, *theirs),
                20,
                1.5,
            )


def lstm_contests(torch: Any) -> Iterator[Contest]:
    """One training step of the LSTM (forward, loss, all gradients, plain SGD), as zoo runs it and as a torch loop."""
    import tinygrad_rnn as tg
    import zoo

    for (T, B, H), repeat, limit in (((100, 32, 128), 1, 1.1), ((64, 1, 32), 4, 1.5)):
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

        yield Contest(f"LSTM step (T, B, H) = {(T, B, H)}", ours, theirs, repeat, limit)


def medians(contest: Contest, rounds: int) -> tuple[float, float]:
    """Median seconds of both sides, run in turn."""
    times: tuple[list[float], list[float]] = ([], [])
    for side in (contest.ours, contest.theirs):
        side()  # warm up
    for _ in range(rounds):
        for side, seconds in zip((contest.ours, contest.theirs), times, strict=True):
            start = time.perf_counter()
            for _ in range(contest.repeat):
                side()
            seconds.append((time.perf_counter() - start) / contest.repeat)
    return statistics.median(times[0]), statistics.median(times[1])


def processor() -> str:
    """The name of the processor, as far as the system tells."""
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def run_eager(rounds: int) -> int:
    """Print the table; the number of lines over their limit."""
    import torch
    from rich.console import Console
    from rich.table import Table

    torch.set_num_threads(1)
    table = Table(title=f"eager, one thread, {processor()}, NumPy {np.__version__}, torch {torch.__version__}")
    table.add_column("work, forward + backward")
    for column in ("ours, µs", "torch, µs", "ours / torch", "limit"):
        table.add_column(column, justify="right")
    over = 0
    for contests in (op_contests, lstm_contests):
        for contest in contests(torch):
            ours, theirs = medians(contest, rounds)
            ratio = ours / theirs
            over += ratio > contest.limit
            mark = " !" if ratio > contest.limit else ""
            table.add_row(
                contest.name, f"{ours * 1e6:.0f}", f"{theirs * 1e6:.0f}", f"{ratio:.2f}{mark}", f"{contest.limit}"
            )
        table.add_section()
    Console(width=110 if not sys.stdout.isatty() else None).print(table)
    return over


def main(arguments: Sequence[str]) -> int:
    """Run the benchmark in a process of its own with one thread everywhere; exit status 1 when a limit is missed."""
    parser = Parser("bench", examples="example: python -m zoo bench --eager")
    parser.add_argument(
        "--eager", action="store_true", required=True, help="the eager engine beside eager torch: ops, an LSTM step"
    )
    parser.add_argument("--rounds", type=COUNT, default=21, help="runs of each contestant (default: %(default)s)")
    options = parser.parse_args(arguments)
    if importlib.util.find_spec("torch") is None:
        raise UserError("bench compares with PyTorch, which is not installed: pip install torch==2.13.0")
    command = [sys.executable, "-m", "zoo.bench", str(options.rounds)]
    return subprocess.run(command, env={**os.environ, **dict.fromkeys(THREADS, "1")}, check=False).returncode


if __name__ == "__main__":
    sys.exit(bool(run_eager(int(sys.argv[1]))))
