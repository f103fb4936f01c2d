"""The opponents compute what the cells do: outputs, and the gradients of the input and of every parameter."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import zoo
from tests.zoo.cells.samples import B, H, I, filled, numbers
from zoo.bench import jax_side, ours, torch_side
from zoo.bench.equations import EQUATIONS

T = 5
OPTIONS = {"FastWeights": {"inner_steps": 2}, "MLSTM": {"heads": 2}, "CoRNN": {"dt": 0.3}}
CASES = [(name, {}, (I, H)) for name in zoo.names()]
CASES += [(name, options, (I, 6)) for name, options in OPTIONS.items()]
CASES += [("SRU", {}, (H, H))]  # has no projection for its highway then


def numbers_for(cell: zoo.Cell, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """An input, and a cotangent of the output."""
    random = numbers(3)
    return tuple(random.normal(size=(T, B, n)).astype(dtype) for n in (cell.input_size, cell.output_size))


def assert_same(found: dict[str, Any], wanted: dict[str, Any], tolerance: float) -> None:
    assert set(wanted) <= set(found)
    for path, array in wanted.items():
        assert np.abs(array).max() > 0, f"{path} compares nothing"
        assert found[path].dtype == array.dtype
        np.testing.assert_allclose(found[path], array, rtol=0, atol=tolerance * np.abs(array).max(), err_msg=path)


def test_every_cell_has_an_opponent() -> None:
    assert list(EQUATIONS) and set(EQUATIONS) == set(zoo.names())


@pytest.mark.parametrize("side", ["loop", "native"])
@pytest.mark.parametrize(("name", "options", "size"), CASES)
def test_torch_computes_what_the_cell_does(name: str, options: dict[str, Any], size: Any, side: str) -> None:
    pytest.importorskip("torch", reason="compares with torch; pip install torch")
    cell = filled(name, *size, **options)
    xs, g = numbers_for(cell, "float64")
    opponent = getattr(torch_side, side)(cell, xs, g)
    if opponent is None:
        assert side == "native" and name not in torch_side.NATIVE
        return
    us = ours.scan(cell, xs, g, threads=1, compile=False)
    assert_same(opponent.arrays(opponent.run()), us.arrays(us.run()), 1e-9)


@pytest.mark.parametrize(("name", "options", "size"), CASES)
def test_jax_computes_what_the_cell_does(name: str, options: dict[str, Any], size: Any) -> None:
    pytest.importorskip("jax", reason="compares with jax; pip install jax")
    cell = filled(name, *size, **options).astype("float32")
    xs, g = numbers_for(cell, "float32")
    opponent, us = jax_side.scan(cell, xs, g), ours.scan(cell, xs, g, threads=1, compile=False)
    assert opponent
    assert_same(opponent.arrays(opponent.run()), us.arrays(us.run()), 1e-4)


def test_a_run_leaves_no_gradient_behind() -> None:
    cell = filled("LSTM")
    us = ours.scan(cell, *numbers_for(cell, "float64"), threads=1, compile=False)
    assert_same(us.arrays(us.run()), us.arrays(us.run()), 0)
    assert all(p.grad is None for p in cell.parameters())


def test_a_cell_without_equations_has_no_opponent() -> None:
    pytest.importorskip("jax", reason="jax is not installed")
    class Own(zoo.LSTM):
        pass

    cell = Own(I, H)
    xs, g = numbers_for(cell, "float32")
    assert jax_side.scan(cell, xs, g) is None
