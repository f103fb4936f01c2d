"""Addresses of arrays, read from the objects by machine code."""

from __future__ import annotations

from array import array

import numpy as np
import pytest

from tinygrad_rnn.scan.arrays import MARK, resolver
from tinygrad_rnn.scan.native.machine import available

pytestmark = pytest.mark.skipif(bool(available()), reason="machine code is made by llvmlite")


def test_marks_become_the_addresses_of_data_and_numbers_stay() -> None:
    whole = np.zeros((5, 7), np.float32)
    arrays = [whole, whole[2:], whole[:, 3:], np.empty(0), np.zeros((), np.float64), np.zeros(3, np.int64)]
    table = array("Q", [id(a) | MARK for a in arrays] + [0, 64, 1 << 47])
    assert resolver()(table) == table.buffer_info()[0]
    assert list(table) == [a.ctypes.data for a in arrays] + [0, 64, 1 << 47]


def test_a_read_only_array_has_an_address_too() -> None:
    a = np.broadcast_to(np.float32(1), (3, 4))
    table = array("Q", [id(a) | MARK])
    resolver()(table)
    assert table[0] == a.ctypes.data
