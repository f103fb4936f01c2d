"""LSTMs that look at their cell state, and that are normalised."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import zoo
from tests.zoo.cells.oracle import assert_is
from tests.zoo.cells.samples import H, I, close, example, filled


def test_without_peepholes_a_peephole_lstm_is_an_lstm() -> None:
    cell, plain = filled("PeepholeLSTM"), filled("LSTM")
    shared = {path: p.numpy() for path, p in cell.named_parameters() if not path.startswith("p_")}
    plain.load_state_dict(shared)
    cell.load_state_dict(shared | dict.fromkeys(("p_i", "p_f", "p_o"), np.zeros(H)))
    close(cell(*example(cell)), plain(*example(cell)))


def test_peepholes_begin_at_zero() -> None:
    cell = zoo.PeepholeLSTM(I, H)
    assert not any(p.numpy().any() for p in (cell.p_i, cell.p_f, cell.p_o))


def test_a_normalised_lstm_does_not_see_the_scale_of_its_input_and_recurrent_weights() -> None:
    cell = filled("LayerNormLSTM")
    x, s = example(cell)
    before = cell(x, s)
    cell.input.weight.data *= 1e3
    cell.U.data *= 1e3
    close(cell(x, s), before, atol=1e-4)


def test_a_normalised_lstm_is_one_built_from_torchs_layer_norm() -> None:
    torch = pytest.importorskip("torch", reason="compares with torch; pip install torch")

    def step(own: dict[str, Any], x: Any, state: tuple) -> tuple:
        def norm(v: Any, name: str) -> Any:
            mine = {part: own[f"{name}/{part}"] for part in ("weight", "bias") if f"{name}/{part}" in own}
            return torch.func.functional_call(torch.nn.LayerNorm(v.shape[-1], bias="bias" in mine), mine, (v,))

        h, c = state
        i, f, g, o = (norm(x @ own["input/weight"], "norm_x") + norm(h @ own["U"], "norm_h")).chunk(4, -1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(norm(c, "norm_c")), c

    assert_is(filled("LayerNormLSTM"), step)
