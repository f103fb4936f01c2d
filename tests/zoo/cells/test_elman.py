"""Nets whose units hear only themselves."""

from __future__ import annotations

import numpy as np

import zoo
from tests.zoo.cells.samples import H, I, close, example, filled


def test_an_ind_rnn_is_an_elman_net_with_a_diagonal_recurrent_matrix() -> None:
    for nonlinearity in ("relu", "tanh"):
        cell, plain = (filled(name, nonlinearity=nonlinearity) for name in ("IndRNN", "ElmanRNN"))
        plain.load_state_dict(
            {
                "input/weight": cell.input.weight.numpy(),
                "input/bias": cell.input.bias.numpy(),
                "U": np.diag(cell.u.numpy()),
            }
        )
        close(cell(*example(cell)), plain(*example(cell)))


def test_an_ind_rnns_recurrent_weights_begin_between_0_and_1() -> None:
    u = zoo.IndRNN(I, 1000).u.numpy()
    assert 0 <= u.min() < 0.01 and 0.99 < u.max() < 1
    assert zoo.IndRNN(I, H).u.shape == (H,)
