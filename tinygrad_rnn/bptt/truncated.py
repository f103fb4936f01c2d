"""Truncated backpropagation through time: a sequence in chunks, the state carried, the gradient cut in between."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from .. import tree
from ..ops.flow import detach
from ..tensor import Tensor

__all__ = ["truncated"]


def truncated(
    loss: Callable[[Any, Any], tuple[Tensor, Any]], carry: Any, xs: Any, *, chunk: int
) -> Iterator[tuple[Tensor, Any]]:
    """Run ``loss(carry, xs[a:b]) -> (value, carry)`` over consecutive chunks of time and yield what it returns.

    The carry passes from chunk to chunk by value and is cut (``detach``) in between, so the gradient of each value
    reaches back to the start of its own chunk and no further:

        dL/dW ≈ Σ_k dL_k/dW with carry_{k−1} held constant,  L_k the loss of steps [k·chunk, (k+1)·chunk)

    Chunks are computed when they are asked for: change the parameters between two of them, and the next one sees it.
    ``xs`` is one array or Tensor of shape (T, …) or a container of such; the last chunk may be shorter.
    The yielded carry is already cut: keep it to go on later, from here.

    Raises ValueError when ``chunk`` is no positive number, or the lengths of ``xs`` differ.

    Williams & Peng 1990, "An efficient gradient-based algorithm for on-line training of recurrent network
    trajectories"; in this form Mikolov et al. 2010, "Recurrent neural network based language model".

    >>> import tinygrad_rnn as tg
    >>> w = tg.tensor(0.5, requires_grad=True)
    >>> def loss(h, xs):
    ...     for t in tg.steps(len(xs)):
    ...         h = w * h + xs[t]
    ...     return h, h
    >>> for value, h in truncated(loss, tg.tensor(0.0), tg.tensor([1.0, 1.0, 1.0, 1.0]), chunk=2):
    ...     value.backward()
    ...     print(value.item(), w.grad.item())
    1.5 1.0
    1.875 3.5
    """
    if chunk < 1:
        raise ValueError(f"truncated: chunk is {chunk}; it is a number of time steps, at least 1")
    lengths = [len(x) for x in tree.leaves(xs)]
    if not lengths or min(lengths) != max(lengths):
        raise ValueError(f"truncated: the sequences have lengths {lengths}; all need the same number of time steps")
    for start in range(0, lengths[0], chunk):
        part = tree.map(lambda x, start=start: x[start : start + chunk], xs)
        value, carry = loss(carry, part)
        carry = tree.map(detach, carry)
        yield value, carry
        del value  # its graph need not live while the next chunk's grows
