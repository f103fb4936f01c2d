"""What numbers become: lines, misses, text."""

from __future__ import annotations

import json

import pytest

from zoo.bench.plan import NATIVE, Size
from zoo.bench.table import Score, Table, cell_line, eager_line, environment, memory_line

RESULT = {
    "cell": "LSTM",
    "size": [64, 32, 256, 256],
    "threads": 1,
    "seconds": {
        "ours": [1.0, 1.0, 1.2], "torch.nn": [1.06, 1.06, 1.272], "torch loop": [2.0] * 3, "jax scan": [0.5] * 3,
    },
    "peak": [50e9, 100e9, 90e9],
    "peak of": "NumPy 256 × 256 × 256",
    "flops": 84e9,
}


@pytest.mark.parametrize(
    ("score", "missed"),
    [
        (Score(1.0), False),
        (Score(1.3, least=1.3), False),
        (Score(1.2999, least=1.3), True),
        (Score(1.5, most=1.5), False),
        (Score(1.51, most=1.5), True),
        (Score(float("nan"), least=1.3), True),
        (Score(float("nan"), most=1.3), True),
    ],
)
def test_a_score_is_missed_on_the_wrong_side_of_its_bound(score, missed):
    assert score.missed is missed and str(score).endswith("!") is missed


def test_a_line_of_a_cell_holds_each_opponents_ratio_to_ours_and_the_share_of_the_peak():
    line = cell_line(RESULT)
    assert line.labels == ("LSTM", "64, 32, 256, 256") and line.facts == {"ours, ms": "1000"}
    assert {name: score.value for name, score in line.scores.items()} == {
        "torch.nn": 1.06, "torch loop": 2.0, "jax scan": 0.5, "share of peak": pytest.approx(0.84),
    }  # fmt: skip
    assert [name for name, score in line.scores.items() if score.missed] == ["share of peak"]
    assert line.missed == 1


def test_without_a_peak_there_is_no_share():
    line = cell_line({key: value for key, value in RESULT.items() if "peak" not in key} | {"threads": 2})
    assert "share of peak" not in line.scores and line.missed == 0


def test_memory_is_missed_when_ours_is_the_larger():
    size = next(iter(NATIVE))
    assert memory_line("LSTM", size, 10, 10).missed == 0
    assert memory_line("LSTM", size, 11, 10).missed == 1


def test_an_eager_line_is_missed_above_its_limit():
    seconds = {"ours": [3.0], "torch": [2.0]}
    assert eager_line({"name": "tanh", "limit": 1.5, "seconds": seconds}).missed == 0
    assert eager_line({"name": "tanh", "limit": 1.4, "seconds": seconds}).missed == 1


def test_a_table_shows_columns_that_some_line_has_and_marks_what_is_missed(capsys):
    other = {**RESULT, "cell": "MGU", "size": [1, 2, 3, 4], "seconds": {"ours": [1.0], "torch loop": [3.0]}}
    other = {key: value for key, value in other.items() if "peak" not in key}
    lines = [cell_line(other), cell_line(RESULT)]
    Table("cells", "a title", ["cell", "T, B, I, H"], lines, {"torch.nn": "torch.nn ÷ ours"}).show()
    title, *_, header, _, mgu, lstm, _ = capsys.readouterr().out.splitlines()
    assert title.strip() == "a title"
    names = ["cell", "T, B, I, H", "ours, ms", "torch.nn ÷ ours", "torch loop", "jax scan", "share of peak"]
    assert header.split("  ") and [name for name in names if name in header] == names
    assert mgu.split() == ["MGU", "1,", "2,", "3,", "4", "1000", "–", "3.00", "–", "–"]
    assert "1.06 ≥ 1.05" in lstm and "84% < 85% !" in lstm


def test_records_are_json_with_the_medians_of_all():
    record = json.loads(json.dumps(cell_line(RESULT).record))
    assert record["median seconds"] == {"ours": 1.0, "torch.nn": 1.06, "torch loop": 2.0, "jax scan": 0.5}
    assert record["scores"]["torch.nn"]["least"] == 1.05 and record["size"] == list(Size(64, 32, 256, 256))


def test_the_environment_names_what_is_installed_only():
    assert "numpy" in environment([]) and "no-such-library" not in environment(["no-such-library"])
