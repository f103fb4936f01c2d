"""Ops that leave the value alone and act on what comes back: detach and tap."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from ..declare import linear
from ..node import Node, local, next_seq
from ..op import CUT, NO_PARAMS
from ..tensor import Tensor

__all__ = ["detach", "tap"]


def detach(x: Any) -> Any:
    """The same values, with no gradient beyond this point; a pair of scissors in the graph.

    >>> import tinygrad_rnn as tg
    >>> x = tg.tensor(3.0, requires_grad=True)
    >>> (x * tg.detach(x)).backward()
    >>> x.grad
    tensor(3.)
    """
    if type(x) is not Tensor or x.node is None:
        return x
    frame = local.frame
    if not frame.recording:
        return Tensor.of(x.data, None)
    # The parent is held weakly: a carried state does not keep the whole past alive, yet while the past lives it can be
    # drawn, and the cotangent that arrives here is exactly what a truncation throws away.
    node = Node(CUT, NO_PARAMS, (), (weakref.ref(x.node),), next_seq(), frame.scope, x.node.shape, x.node.dtype)
    return Tensor.of(x.data, node)


def _shown(g: Any, fn: Callable[[Any], Any]) -> Any:
    seen = fn(g.conj() if g.dtype.kind == "c" else g)
    if seen is None:
        return g
    return seen.conj() if seen.dtype.kind == "c" else seen


@linear("tap", _shown)
def _tap(x, *, fn):
    return x


def tap(x: Any, fn: Callable[[Any], Any]) -> Any:
    """x itself; on the way back ``fn(cotangent)`` is called, and what it returns (unless None) travels on instead.

    The cotangent is an array (a Tensor while the backward pass is itself recorded).

    >>> import tinygrad_rnn as tg
    >>> x = tg.tensor(3.0, requires_grad=True)
    >>> (2 * tg.tap(x, lambda g: 10 * g)).backward()
    >>> x.grad
    tensor(20.)
    """
    return _tap(x, fn=fn)
