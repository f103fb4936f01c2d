"""Every op, one family a file; here they become Tensor's operators and methods.

A plain function put on the class is a method at no extra cost: ``x + y`` is ``add(x, y)``.
"""

from typing import Any

from ..tensor import Tensor
from . import activation, complex, conv, einsum, elementwise, flow, index, linalg, loss, reduce, shape, special

FAMILIES = (elementwise, activation, special, complex, reduce, shape, index, linalg, einsum, conv, loss, flow)

METHODS: dict[str, Any] = {
    "__add__": elementwise.add,
    "__radd__": elementwise.add,
    "__mul__": elementwise.mul,
    "__rmul__": elementwise.mul,
    "__sub__": elementwise.sub,
    "__rsub__": lambda b, a: elementwise.sub(a, b),
    "__truediv__": elementwise.div,
    "__rtruediv__": lambda b, a: elementwise.div(a, b),
    "__pow__": elementwise.pow,
    "__rpow__": lambda b, a: elementwise.pow(a, b),
    "__matmul__": linalg.matmul,
    "__rmatmul__": lambda b, a: linalg.matmul(a, b),
    "__neg__": elementwise.neg,
    "__abs__": elementwise.abs,
    "__eq__": elementwise.equal,
    "__ne__": elementwise.not_equal,
    "__lt__": elementwise.less,
    "__le__": elementwise.less_equal,
    "__gt__": elementwise.greater,
    "__ge__": elementwise.greater_equal,
    "__and__": elementwise.logical_and,
    "__or__": elementwise.logical_or,
    "__invert__": elementwise.logical_not,
    "__getitem__": index.getitem,
    "__iter__": lambda x: iter(shape.unstack(x)),
    "T": property(shape.transpose, doc="The axes in reverse order."),
    "argmax": reduce.argmax,
    "argmin": reduce.argmin,
    "argsort": reduce.argsort,
    "astype": shape.astype,
    "at": property(index.At, doc="``x.at[index].set(v)`` and ``.add(v)``: x with other values at some places."),
    "clip": elementwise.clip,
    "conj": complex.conj,
    "cumsum": reduce.cumsum,
    "detach": flow.detach,
    "imag": property(complex.imag, doc="The imaginary part."),
    "max": reduce.max,
    "mean": reduce.mean,
    "min": reduce.min,
    "prod": reduce.prod,
    "real": property(complex.real, doc="The real part."),
    "repeat": shape.repeat,
    "reshape": shape.reshape,
    "squeeze": shape.squeeze,
    "std": reduce.std,
    "sum": reduce.sum,
    "swapaxes": shape.swapaxes,
    "take": index.take,
    "to": shape.to,
    "transpose": lambda x, *axes: shape.transpose(x, shape.sizes(axes) or None),
    "var": reduce.var,
}
for name, method in METHODS.items():
    setattr(Tensor, name, method)
