"""Every op, one family a file; here they become Tensor's operators and methods.

A plain function put on the class is a method at no extra cost: ``x + y`` is ``add(x, y)``.
"""

from typing import Any

from ..tensor import Tensor
from . import elementwise, flow, linalg, shape

FAMILIES = (elementwise, flow, linalg, shape)

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
    "__iter__": lambda x: iter(shape.unstack(x)),
    "T": property(shape.transpose, doc="The axes in reverse order."),
    "astype": shape.astype,
    "clip": elementwise.clip,
    "detach": flow.detach,
    "reshape": shape.reshape,
    "squeeze": shape.squeeze,
    "swapaxes": shape.swapaxes,
    "transpose": lambda x, *axes: shape.transpose(x, shape.sizes(axes) or None),
}
for name, method in METHODS.items():
    setattr(Tensor, name, method)
