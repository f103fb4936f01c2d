"""Cells that torchrecurrent has too: with the same weights the same values and gradients."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

import zoo
from tests.zoo.cells.oracle import assert_is
from tests.zoo.cells.samples import H, I, filled

REASON = "compares with torchrecurrent; pip install torchrecurrent"
torch = pytest.importorskip("torch", reason=REASON)
torchrecurrent = pytest.importorskip("torchrecurrent", reason=REASON)


class Counterpart(NamedTuple):
    """Our cell, theirs, and which of our parameters, transposed and one below the other, each of theirs is.

    They have more biases, all of which start at 0 and are only added to bias_ih.
    """

    ours: zoo.Cell
    theirs: Any
    paths: dict[str, list[str]]


INPUT = {"weight_ih": ["input/weight"], "bias_ih": ["input/bias"]}
COUNTERPARTS = {
    "MGU": Counterpart(filled("MGU"), torchrecurrent.MGUCell(I, H), {"weight_hh": ["U", "U_n"]}),
    "PeepholeLSTM": Counterpart(
        filled("PeepholeLSTM"),
        torchrecurrent.PeepholeLSTMCell(I, H),
        {"weight_hh": ["U"], "weight_ph": ["p_i", "p_f", "p_o"]},
    ),
    "IndRNN with relu": Counterpart(
        filled("IndRNN"), torchrecurrent.IndRNNCell(I, H, nonlinearity="relu"), {"vector_u": ["u"]}
    ),
    "IndRNN with tanh": Counterpart(
        filled("IndRNN", nonlinearity="tanh"), torchrecurrent.IndRNNCell(I, H), {"vector_u": ["u"]}
    ),
    "CoRNN": Counterpart(
        filled("CoRNN", dt=0.3, gamma=1.5, epsilon=0.7),
        torchrecurrent.coRNNCell(I, H, dt=0.3, gamma=1.5, epsilon=0.7),
        {"weight_hh": ["U"], "weight_ch": ["U_z"]},
    ),
}


@pytest.mark.parametrize("counterpart", COUNTERPARTS.values(), ids=COUNTERPARTS)
def test_values_and_gradients_are_those_of_torchrecurrent(counterpart: Counterpart) -> None:
    theirs, paths = counterpart.theirs.double(), INPUT | counterpart.paths

    def step(own: dict[str, Any], x: Any, state: tuple) -> tuple:
        weights = {name: torch.cat([torch.t(own[path]) for path in mine]) for name, mine in paths.items()}
        after = torch.func.functional_call(theirs, weights, (x, state if len(state) > 1 else state[0]))
        return after if isinstance(after, tuple) else (after,)

    assert_is(counterpart.ours, step)
