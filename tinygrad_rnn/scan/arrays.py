"""Where NumPy's arrays have their data, read from the objects by machine code, all those of a call at once.

To ask Python for one address takes half a microsecond, and a small step hands over twenty arrays. NumPy's ABI begins
every array with the head of a Python object and the address of its data, so a table of addresses may hold ``id(a) |
MARK`` in the place of one, as long as the array a lives; addresses of numbers are even.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from .graph import Refused
from .native import machine

__all__ = ["MARK", "resolver"]

MARK = 1
HEAD = object.__basicsize__  # bytes of the head of an object


@cache
def resolver() -> Callable[[array], int]:
    """A function that puts addresses in the places of all marks of a table, and returns the table's own address.

    Raises Refused where arrays are laid out otherwise.

    >>> a = np.zeros(3)
    >>> table = array("Q", [id(a) | MARK, 64])
    >>> resolver()(table) == table.buffer_info()[0], table[0] == a.ctypes.data, table[1]
    (True, True, 64)
    """
    (resolve,) = machine.load(machine.build(str(assembly())), ["resolve"])

    def resolved(table: array) -> int:
        at, count = table.buffer_info()
        resolve(at, None, None, count, HEAD)
        return at

    a = np.zeros(1)
    probe = array("Q", [id(a) | MARK])
    resolved(probe)
    if probe[0] != a.ctypes.data:
        raise Refused("NumPy's arrays do not begin with the address of their data")
    return resolved


def assembly() -> Any:
    """A module with ``resolve(table, …, count, head)``."""
    from llvmlite import ir

    from .native.function import SIGNATURE
    from .native.lanes import INT, PTR, repeat

    module = ir.Module("arrays")
    function = ir.Function(module, SIGNATURE, "resolve")
    b = ir.IRBuilder(function.append_basic_block("entry"))
    table, _, _, count, head = function.args
    with repeat(b, INT(0), count) as i:
        place: Any = b.gep(table, [i], source_etype=INT)
        entry = b.load(place, typ=INT)
        with b.if_then(b.trunc(entry, ir.IntType(1))):
            field = b.inttoptr(b.add(b.sub(entry, INT(MARK)), head), PTR)
            b.store(b.load(field, typ=INT), place)
    b.ret_void()
    return module
