"""scan: one step applied along time, with a carry; step by step, or compiled.

    eager                 the plain loop, one node for each op and step; in segments (pieces), where asked for
    compiled              from a step to its compiled run, one node; memory of what was compiled before
      checkpointed        the same over segments, from the carries in between
      trace, graph        the step and its way back, as a graph of values
      rows                the proof that the rows of a batch never meet
      plan, choices       which executor runs it, as measured on this machine
      run_numpy           generated Python, a NumPy call for an op (homes, numpy_source)
      run_llvm, native/   machine code; blas for large products where it is faster
    explain               what is compiled, in words (names, work)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..node import local
from .checkpointed import segment_length
from .eager import masked, run_eager, time_length
from .explain import explain
from .graph import Refused

__all__ = ["explain", "scan"]

COMPILE = ("auto", "llvm", "numba", "numpy", False)


def scan(
    step: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any,
    *,
    length: int | None = None,
    lengths: Any = None,
    reverse: bool = False,
    compile: str | bool = "auto",
    threads: int | None = None,
    checkpoint: str | int | None = None,
) -> tuple[Any, Any]:
    """Run ``carry, y_t = step(carry, x_t)`` for t = 0 … T−1; the last carry and the y_t stacked over time.

    ``xs`` is a container of Tensors (T, …), or None with ``length=T``; ``init`` and the carries share one structure.
    ``lengths`` (B,) for Tensors (T, B, …): past its length a row keeps its carry, its y is zero, and what xs holds
    there, NaN included, changes nothing. ``reverse`` runs t = T−1 … 0; y_t stays at its t, and rows keep ``init``
    until their last valid step.

    ``compile``: False is the plain loop, one node per op and step, that pictures are drawn from. Else the step is
    traced and the time loop compiled, and the whole sequence is one node: "llvm" ("numba" means the same: it is the
    Numba project's LLVM binding that compiles) makes machine code of the loop, "numpy" needs no compiler, and "auto"
    takes the first of them that can run the step, or the plain loop. Where every op is watched (``detect_anomaly``, a
    trace to draw) it is the plain loop. A compiled step must be a map over the rows of the batch (axis 0 of every
    carry, axis 1 of xs), and must not look at the numbers in Tensors. ``threads``: how many threads
    share the rows (else NUMBA_NUM_THREADS, else 1); their number does not change a bit of the result.

    ``checkpoint=k`` keeps for the way back only the carry every k steps, with xs and the outputs, and runs each k steps
    again then, once; "sqrt" is k = ⌈√T⌉, with memory that grows as √T (Chen et al. 2016, arXiv:1604.06174; Gruslys et
    al. 2016, arXiv:1606.03401). Steps must then be pure in the plain loop too. Derivatives of derivatives keep all.

    Raises ValueError for lengths or carries that do not fit, naming them, and for a step that cannot be compiled as
    asked.

    >>> import tinygrad_rnn as tg
    >>> tg.scan(lambda c, x: (c + x, c * x), tg.tensor(0.0), tg.tensor([1.0, 2.0, 3.0]))
    (tensor(6.), tensor([0., 2., 9.]))
    """
    if compile not in COMPILE:
        raise ValueError(f"scan: compile={compile!r} is not one of {COMPILE}")
    total = time_length(xs, length)
    k = segment_length(checkpoint, total)
    if compile is not False and local.frame.watch is None:  # who watches every op is shown those of the plain loop
        from .compiled import run_compiled

        try:
            return run_compiled(step, init, *masked(xs, total, lengths), reverse, str(compile), threads, checkpoint)
        except Refused as why:
            if compile != "auto" or why.final:
                raise
    return run_eager(step, init, xs, total, lengths, reverse, k)
