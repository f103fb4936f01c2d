"""python -m viz norms, lag, …: nets that read a text, trained ones from a run's folder; what is written and refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tinygrad_rnn as tg
from viz.__main__ import main
from viz.plots import demos, reading
from viz.plots.commands import COMMANDS
from viz.plots.figure import host
from zoo.run import Run
from zoo.tasks.char_lm import CharModel

TEXT = 'a = ("b", c)\n' * 9


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The folder of a run of char-lm that has taken a few steps, as the training loop leaves it."""
    folder = tmp_path_factory.mktemp("runs") / "char-lm-1"
    text = folder.parent / "text.txt"
    text.write_text(TEXT * 3)
    options = {
        "cell": "LSTM", "layers": 2, "hidden": 5, "embedding": 4, "dropout": 0.1, "text": str(text), "clip": 0.5,
    }  # fmt: skip
    data = {"characters": "".join(sorted(set(TEXT)))}
    config = {"task": "char-lm", "options": options, "seed": 3, "device": "cpu", "threads": 1, "data": data}
    made = Run.create(folder, config)
    sizes = {"embedding": 4, "hidden": 5, "layers": 2, "dropout": 0.1}
    model = CharModel("LSTM", len(data["characters"]), **sizes, rng=tg.random.Generator(7))
    for step, norm in enumerate([2.0, 0.25, 1.0], 1):
        made.append({"step": step, "gradient_norm": norm})
    made.save({"step": 3, "model": model.state_dict()})
    return made


@pytest.mark.parametrize("name", COMMANDS)
def test_each_picture_is_written_for_a_cell_as_it_begins(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "x.svg"
    short = ["--updates", "2"] if name in ("clip", "attention") else []
    short += ["--predicate", "quotes"] if name == "units" else []
    assert main([name, "--cell", "gru", "--steps", "20", "--hidden", "3", *short, "--out", str(out)]) == 0
    said = capsys.readouterr()
    assert said.out.startswith(f"{out}: ") and said.err == "" and b"<svg" in out.read_bytes()


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "attention"])
def test_each_picture_is_written_for_a_trained_run(name: str, run: Run, tmp_path: Path) -> None:
    out = tmp_path / "x.png"
    assert main([name, "--run", str(run.folder), "--steps", "12", "--out", str(out)]) == 0
    assert out.read_bytes().startswith(b"\x89PNG")


def test_several_cells_are_overlaid(tmp_path: Path) -> None:
    out = tmp_path / "x.svg"
    cells = ["lstm", "gru", "elmanrnn"]
    assert main(["norms", "--cell", *cells, "--steps", "12", "--hidden", "4", "--out", str(out)]) == 0
    assert all(name in out.read_text() for name in ("LSTM, ×", "GRU, ×", "ElmanRNN, ×"))


def test_what_is_drawn_of_a_cell_can_be_trained_on_the_text_before(tmp_path: Path) -> None:
    plain, trained = tmp_path / "0.svg", tmp_path / "5.svg"
    for path, updates in ((plain, "0"), (trained, "5")):
        arguments = ["gates", "--cell", "elmanrnn", "--steps", "6", "--hidden", "3", "--updates", updates]
        assert main([*arguments, "--out", str(path)]) == 0
    assert plain.read_bytes() != trained.read_bytes()


def test_options_reach_what_is_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "x.svg"
    small = ["--cell", "gru", "--steps", "12", "--hidden", "3", "--out", str(out)]
    assert main(["connect", "--at", "3", "-1", *small]) == 0
    assert "step 3: logit" in out.read_text() and "step 11: logit" in out.read_text()
    assert main(["units", "--unit", "1", *small]) == 0 and "Unit 1; h of GRU, 3 units" in capsys.readouterr().out
    assert main(["gates", "--unit", "2", "--updates", "1", *small]) == 0
    assert "unit 2; GRU, 3 units, after 1 update\n" in capsys.readouterr().out
    found = reading.untrained("GRU", reading.passage(None, 12), hidden=3)
    norms = demos.learnt(found, threshold=0.01, updates=4)
    assert main(["clip", "--updates", "4", "--threshold", "0.01", *small]) == 0
    longer = np.mean(np.array(norms) > 0.01)
    assert f"Clipping: {longer:.0%} of 4 gradients were longer than 0.01; GRU" in capsys.readouterr().out


def test_a_short_training_clips_at_the_threshold_that_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def learnt(net: reading.Reading, *, threshold: float, updates: int) -> list[float]:
        asked.append(threshold)
        return demos.learnt(net, threshold=threshold, updates=updates)

    monkeypatch.setattr("viz.plots.commands.learnt", learnt)
    small = ["--steps", "5", "--hidden", "2", "--updates", "1", "--out", str(tmp_path / "x.svg")]
    assert main(["clip", "--threshold", "0.25", *small]) == 0 and main(["clip", *small]) == 0
    assert asked == [0.25, 1.0]


def test_units_of_a_run_over_a_file_can_be_flipped_through(run: Run, tmp_path: Path) -> None:
    file, out = tmp_path / "x.txt", tmp_path / "x.html"
    file.write_text(TEXT)
    arguments = ["units", "--run", str(run.folder), "--text", str(file), "--steps", "40", "--predicate", "brackets"]
    assert main([*arguments, "--state", "1/c", "--out", str(out)]) == 0
    page = out.read_text()
    assert page.count('<span class="') == 40 and "correlation with brackets" in page and "%" in page


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["lag", "--cell", "lstm", "gru"], "this picture shows one cell, not lstm gru"),
        (["gates", "--cell", "lstn"], "did you mean LSTM"),
        (["gates", "--steps", "0"], "--steps 0: it must be 1 or more"),
        (["norms", "--hidden", "0"], "--hidden 0: it must be 1 or more"),
        (["lag", "--steps", "5", "--wrt", "V"], "there is no parameter 'V'"),
        (["units", "--steps", "5", "--state", "q"], "this net carries h, c"),
        (["norms", "--text", "/nowhere.txt"], "cannot read the text /nowhere.txt"),
        (["clip", "--updates", "0"], "--updates 0: it must be 1 or more"),
        (["attention", "--run", "x"], "leave --run out"),
        (["clip", "--threshold", "0"], "--threshold 0: it must be more than 0, and finite"),
        (["clip", "--threshold", "nan"], "--threshold nan: it must be more than 0"),
        (["norms", "--steps", "5", "--cell", "gru", "GRU"], "--cell gru GRU: a cell is there twice"),
        (["gates", "--run", "/nowhere"], "/nowhere holds no run"),
        (["gates", "--steps", "5", "--out", "x.html"], "none of .svg, .png, .pdf"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(
    arguments: list[str], complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert complaint in said.err and said.err.count("\n") == 1 and not list(tmp_path.iterdir())


def test_a_text_that_is_too_short_says_how_long_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "x.txt"
    file.write_text("abcdef")
    assert main(["norms", "--text", str(file), "--out", str(tmp_path / "x.svg")]) == 2
    assert "has 6 characters; reading 60 of them takes one more" in capsys.readouterr().err


def test_a_reading_is_the_model_of_the_run_on_what_it_was_not_trained_on(run: Run) -> None:
    found = reading.trained(str(run.folder), None, 20)
    corpus = TEXT * 3
    assert found.text == corpus[len(corpus) * 9 // 10 :][:20]
    model = found.problem.parameters
    ids = [found.characters.index(c) for c in found.text]
    logits, _ = model(tg.tensor(np.array(ids)[:, None]), model.begin(1))
    np.testing.assert_allclose(found.logits(found.xs).numpy(), logits.numpy(), rtol=1e-5, atol=1e-7)
    states = found.states()
    assert set(states) == {"0/h", "0/c", "1/h", "1/c"} and states["1/h"].shape == (20, 5)
    np.testing.assert_allclose(model.head(tg.tensor(states["1/h"])).numpy(), logits.numpy()[:, 0], rtol=1e-4, atol=1e-6)
    following = (found.text + corpus[len(corpus) * 9 // 10 :][20])[1:]
    targets = tg.tensor(np.array([found.characters.index(c) for c in following]))
    loss = found.problem.run(model, found.problem.carry, 0, 20)[1].item()
    assert loss == pytest.approx(tg.cross_entropy(logits[:, 0], targets).item(), rel=1e-5)
    p = np.exp(logits.numpy()[:, 0])
    best = (p / p.sum(1, keepdims=True))[3].max()
    assert found.guesses(1)[3].endswith(f" {best:.0%}")


def test_the_losses_of_a_reading_are_cross_entropies_of_the_next_character() -> None:
    found = reading.untrained("ElmanRNN", TEXT[:11], hidden=3)
    total = found.problem.run(found.problem.parameters, found.problem.carry, 0, 10)[1].item()
    targets = [found.characters.index(c) for c in TEXT[1:11]]
    assert total == pytest.approx(tg.cross_entropy(found.logits(found.xs)[:, 0], tg.tensor(np.array(targets))).item())
    assert [found.characters[k] for k in host(found.xs)[:, 0].argmax(-1)] == [*TEXT[:10]] == [*found.text]
    last = reading.untrained("ElmanRNN", TEXT[:11], hidden=3, loss="last").problem
    assert [last.one(last.parameters, last.carry, t)[1].item() != 0 for t in (0, 9)] == [False, True]


def test_what_a_decoder_writes_and_looks_at_is_the_same_for_the_same_seed() -> None:
    weights, written = demos.reversing("GRU", "ab-", hidden=4, updates=2)
    again = demos.reversing("GRU", "ab-", hidden=4, updates=2)
    np.testing.assert_array_equal(weights, again[0])
    assert written == again[1] and len(written) == 3 and weights.shape == (3, 3)
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-5)


def test_gradients_are_clipped_while_a_text_is_learnt() -> None:
    found = reading.untrained("ElmanRNN", TEXT[:11], hidden=3)
    before = found.problem.run(found.problem.parameters, found.problem.carry, 0, 10)[1].item()
    norms = demos.learnt(found, threshold=0.5, updates=15)
    after = found.problem.run(found.problem.parameters, found.problem.carry, 0, 10)[1].item()
    assert len(norms) == 15 and min(norms) > 0 and after < before
