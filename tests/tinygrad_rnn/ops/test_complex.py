"""The parts of complex Tensors."""

from __future__ import annotations

import numpy as np

import tinygrad_rnn as tg


def test_the_parts_of_a_complex_tensor_are_properties() -> None:
    z = tg.tensor([1 + 2j, 3 - 4j])
    assert z.dtype == np.complex64 and z.real.dtype == z.imag.dtype == np.float32
    assert (z.real.tolist(), z.imag.tolist()) == ([1, 3], [2, -4])
