"""Losses, computed from logits and without overflow; entries that a mask leaves out may hold NaN and change nothing.

``mask`` is boolean, True where an entry counts, over all axes of the losses or the leading ones (T, B). ``reduction``:
"mean" over the entries that count (0 when none does), "sum", or "none", the losses themselves with 0 where masked.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backend import namespace
from ..declare import primitive
from ..op import refusal
from ..tensor import array_beside, array_of
from .activation import softplus
from .elementwise import where
from .index import ARRAY, check_ids, index_add, take_along_axis
from .reduce import log_softmax, mean, softmax, sum
from .shape import expand_dims, moveaxis

__all__ = ["bce_with_logits", "cross_entropy", "mse"]

# mypy: disable-error-code="no-untyped-def"


def _listed(x: Any, targets: Any) -> Any:
    """Class ids, a mask or distributions as an array where x is, if they are a list."""
    if hasattr(targets, "dtype") or np.asarray(targets).dtype.kind == "f":
        return array_beside(x, targets)
    return namespace(array_of(x)).asarray(targets)


def _mask(op: str, mask: Any, losses: tuple[int, ...], values: list[Any]) -> Any:
    """The mask with an axis of size 1 for each axis of the losses that it does not have."""
    if mask is None:
        return None
    mask = array_of(_listed(values[0], mask))
    if mask.dtype != bool or mask.shape != losses[: mask.ndim]:
        cause = f"the mask is {mask.dtype} {mask.shape}; it must be boolean, of the leading axes of {losses}"
        raise refusal(op, cause, values)
    return mask.reshape(mask.shape + (1,) * (len(losses) - mask.ndim))


def _reduced(op: str, loss: Any, mask: Any, reduction: str) -> Any:
    if mask is not None:
        loss = where(mask, loss, 0.0)
    if reduction == "none":
        return loss
    if reduction == "sum":
        return sum(loss)
    if reduction != "mean":
        raise refusal(op, f"reduction {reduction!r} is not 'mean', 'sum' or 'none'", [loss])
    size = array_of(loss).size
    if mask is None:
        return sum(loss) / max(size, 1)
    counted = mask.sum() * (size // max(mask.size, 1))
    return sum(loss) / namespace(mask).maximum(counted, 1).astype(loss.dtype)


def _of_target(x, targets):
    """The entry of each row that belongs to its target."""
    return take_along_axis(x, targets[..., None], -1).reshape(targets.shape)


def _softmax_minus_targets(g, logits, targets, label_smoothing):
    """g · (softmax − q), with q the smoothed targets."""
    xp = namespace(array_of(targets))
    p = softmax(logits)
    scaled = expand_dims(g, -1) * (p - label_smoothing / logits.shape[-1] if label_smoothing else p)
    grid = [xp.arange(n).reshape(-1, *[1] * (targets.ndim - 1 - a)) for a, n in enumerate(targets.shape)]
    return index_add(scaled, (label_smoothing - 1) * g, *grid, targets, index=(ARRAY,) * logits.ndim)


def _along_logits(t, logits, targets, label_smoothing):
    along = sum(softmax(logits) * t, -1) - (1 - label_smoothing) * _of_target(t, targets)
    return along - label_smoothing * mean(t, -1) if label_smoothing else along


@primitive("cross_entropy", _softmax_minus_targets, None, jvp=_along_logits)
def _cross_entropy(xp, logits, targets, *, label_smoothing):
    """−log softmax of the target, for rows of logits."""
    check_ids(targets, logits.shape[-1], "classes", "; leave entries out with ignore_index or mask")
    below = logits - logits.max(-1, keepdims=True)
    chosen = _of_target(below, targets)
    if label_smoothing:
        chosen = (1 - label_smoothing) * chosen + label_smoothing * below.mean(-1)
    return xp.log(xp.exp(below, out=below).sum(-1)) - chosen


def cross_entropy(
    logits, targets, *, axis=-1, mask=None, ignore_index=None, label_smoothing=0.0, reduction="mean"
):  # fmt: skip
    """−Σ_c q_c log softmax(logits)_c along ``axis``, in nats.

    ``targets`` are class ids, of the logits' shape without ``axis``, or distributions, of the logits' shape. With
    ``label_smoothing`` ε each q is (1 − ε) q + ε / classes (Szegedy et al. 2016); ids equal to ``ignore_index`` do not
    count. The gradient of each is softmax(logits) − q. Raises IndexError for ids that are no class, with the id,
    ValueError for shapes that do not fit.

    >>> import tinygrad_rnn as tg
    >>> tg.cross_entropy(tg.tensor([[0.0, 0.0], [5.0, 0.0]]), tg.tensor([1, 0]))
    tensor(0.3499)
    """
    targets = _listed(logits, targets)
    values = [logits, targets]
    n = len(logits.shape)
    if not n or not -n <= axis < n:
        raise refusal("cross_entropy", f"the logits have no axis {axis}", values)
    if not 0 <= label_smoothing <= 1:
        raise refusal("cross_entropy", f"label_smoothing {label_smoothing} is not between 0 and 1", values)
    if axis % n != n - 1:
        logits = moveaxis(logits, axis, -1)
    rows = tuple(logits.shape[:-1])
    by_class = targets.dtype.kind in "iu"
    if by_class and targets.shape != rows:
        raise refusal("cross_entropy", f"class ids for these logits have shape {rows}, without axis {axis}", values)
    if not by_class and (targets.dtype.kind != "f" or targets.shape != values[0].shape or ignore_index is not None):
        cause = "targets are integer class ids, or floating distributions of the logits' shape without ignore_index"
        raise refusal("cross_entropy", cause, values)
    mask = _mask("cross_entropy", mask, rows, values)
    if by_class:
        targets = array_of(targets)
        if ignore_index is not None:
            counts = targets != ignore_index
            mask = counts if mask is None else counts & mask
        if mask is not None:
            logits, targets = where(mask[..., None], logits, 0.0), where(mask, targets, 0)
        loss = _cross_entropy(logits, targets, label_smoothing=label_smoothing)
    else:
        q = targets if axis % n == n - 1 else moveaxis(targets, axis, -1)
        if mask is not None:
            logits, q = where(mask[..., None], logits, 0.0), where(mask[..., None], q, 0.0)
        if label_smoothing:
            q = (1 - label_smoothing) * q + label_smoothing / logits.shape[-1]
        loss = -sum(q * log_softmax(logits), -1)
    return _reduced("cross_entropy", loss, mask, reduction)


def _of_equal_shapes(op: str, x: Any, targets: Any) -> Any:
    targets = array_beside(x, targets)
    if tuple(targets.shape) != tuple(x.shape):
        raise refusal(op, "the two must have the same shape", [x, targets])
    return targets if targets.dtype.kind in "fc" else targets.astype(x.dtype)  # 0 and 1 do not make float32 float64


def mse(predictions, targets, *, mask=None, reduction="mean"):
    """|predictions − targets|², entry by entry, with gradient 2 (predictions − targets); ValueError for unequal shapes.

    >>> import tinygrad_rnn as tg
    >>> tg.mse(tg.tensor([1.0, 2.0]), tg.tensor([0.0, 0.0]))
    tensor(2.5)
    """
    targets = _of_equal_shapes("mse", predictions, targets)
    mask = _mask("mse", mask, tuple(predictions.shape), [predictions, targets])
    d = predictions - targets
    if mask is not None:
        d = where(mask, d, 0.0)
    return _reduced("mse", (d * d.conj()).real if d.dtype.kind == "c" else d * d, mask, reduction)


def bce_with_logits(logits, targets, *, mask=None, pos_weight=None, reduction="mean"):
    """−y log σ(z) − (1 − y) log(1 − σ(z)) for logits z and targets y in [0, 1], with gradient σ(z) − y.

    ``pos_weight`` (broadcast) multiplies the first term, for rare positives. Raises ValueError unless the shapes of
    z and y are equal.

    >>> import tinygrad_rnn as tg
    >>> tg.bce_with_logits(tg.tensor([0.0, 2.0]), tg.tensor([1.0, 0.0]), reduction="none")
    tensor([0.6931, 2.1269])
    """
    targets = _of_equal_shapes("bce_with_logits", logits, targets)
    mask = _mask("bce_with_logits", mask, tuple(logits.shape), [logits, targets])
    if mask is not None:
        logits, targets = where(mask, logits, 0.0), where(mask, targets, 0.0)
    positive = targets * softplus(-logits)
    if pos_weight is not None:
        positive = positive * array_beside(positive, pos_weight)
    return _reduced("bce_with_logits", positive + (1 - targets) * softplus(logits), mask, reduction)
