"""The registry: every cell with its facts, found by name."""

from __future__ import annotations

from typing import NamedTuple

import pytest

import tinygrad_rnn as tg
import zoo
from zoo import registry
from zoo.errors import UserError

EVERY_CELL = pytest.mark.parametrize("name", zoo.names())


def test_the_first_cells_are_there() -> None:
    assert {"ElmanRNN", "LSTM", "GRU", "GRUResetAfter"} <= set(zoo.names())


@EVERY_CELL
def test_a_cell_is_found_in_any_case_and_offered_by_the_package(name: str) -> None:
    assert zoo.get(name) is zoo.get(name.lower()) is zoo.get(name.upper()) is getattr(zoo, name)


@EVERY_CELL
def test_every_cell_states_its_source_and_equations(name: str) -> None:
    entry = registry.entry(name)
    assert entry.summary.endswith(".")
    assert any(character.isdigit() for character in entry.paper), "a paper has a year"
    assert entry.family
    assert all(f"{part}ₜ =" in entry.equations for part in (*entry.state, "y"))
    doc = " ".join((entry.cell.__doc__ or "").split())
    assert " ".join(entry.equations.split()) in doc
    assert entry.paper in doc


@EVERY_CELL
def test_the_formula_counts_the_parameters_at_other_sizes(name: str) -> None:
    entry = registry.entry(name)
    for i, h in ((1, 2), (8, 9), (20, 6)):
        expression = entry.formula().replace("·", "*").replace("²", "**2")
        counted = sum(p.size for p in entry.cell(i, h).parameters())
        assert eval(expression, {"I": i, "H": h}) == entry.count(i, h) == counted


@pytest.mark.parametrize(
    "name, formula",
    [
        ("ElmanRNN", "I·H + H² + H"),
        ("LSTM", "4·I·H + 4·H² + 4·H"),
        ("GRU", "3·I·H + 3·H² + 3·H"),
        ("GRUResetAfter", "3·I·H + 3·H² + 4·H"),
        ("MGU", "2·I·H + 2·H² + 2·H"),
        ("IndRNN", "I·H + 2·H"),
        ("PeepholeLSTM", "4·I·H + 4·H² + 7·H"),
        ("LayerNormLSTM", "4·I·H + 4·H² + 14·H"),
        ("MinGRU", "2·I·H + 2·H"),
        ("SRU", "4·I·H + 4·H"),
        ("CoRNN", "I·H + 2·H² + H"),
        ("FastWeights", "I·H + H² + 2·H"),
        ("MLSTM", "4·I·H + 2·I + 4·H + 2"),
    ],
)
def test_the_formulas_are_those_of_the_papers(name: str, formula: str) -> None:
    assert registry.entry(name).formula() == formula


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"unknown cell 'LTSM': did you mean LSTM\? \(all: ElmanRNN, "):
        zoo.get("LTSM")


def test_a_cell_of_ones_own_joins_the_zoo_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "CELLS", dict(registry.CELLS))

    class Mine(zoo.Cell):
        """What I tried today."""

        class State(NamedTuple):
            h: tg.Tensor

    join = zoo.register(paper="me, 2026", family="mine", equations="hₜ = hₜ₋₁")
    assert join(Mine) is Mine
    assert zoo.get("mine") is Mine and "Mine" in zoo.names()
    assert Mine.__doc__ == "What I tried today.\n\n    hₜ = hₜ₋₁\n\nSource: me, 2026."
    with pytest.raises(ValueError, match="the zoo has a cell Mine already"):
        join(Mine)
