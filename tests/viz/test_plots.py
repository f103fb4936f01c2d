"""Pictures of gradients along time: every number on them is the engine's, and a formula's where there is one."""

from __future__ import annotations

import itertools
import sys
import warnings
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
import viz
from viz.plots.figure import Plot
from viz.style import contrast
from zoo.topology.examples import example

H, T = 4, 6
CLOSE: dict[str, Any] = {"rtol": 1e-10, "atol": 1e-13}


def plain(rng: np.random.Generator) -> tuple[tg.bptt.Problem, dict[str, np.ndarray]]:
    """A tanh net with a squared error at each step, and all that its equations need."""
    given = {"U": rng.normal(size=(3, H)), "W": rng.normal(size=(H, H)) / 2, "x": rng.normal(size=(T, 1, 3)),
             "y": rng.normal(size=(T, 1, H))}  # fmt: skip
    parameters = {name: tg.tensor(given[name], requires_grad=True) for name in "UW"}

    def step(p: Any, s: Any, at: Any) -> tuple[Any, Any]:
        s = tg.tanh(at[0] @ p["U"] + s @ p["W"])
        return s, 0.5 * ((s - at[1]) ** 2).sum()

    xs = (tg.tensor(given["x"]), tg.tensor(given["y"]))
    return tg.bptt.Problem(parameters, step, tg.zeros((1, H), dtype="float64"), xs), given


def states(given: dict[str, np.ndarray]) -> np.ndarray:
    s, found = np.zeros((1, H)), []
    for x in given["x"]:
        s = np.tanh(x @ given["U"] + s @ given["W"])
        found.append(s)
    return np.stack(found)


def masked(problem: tg.bptt.Problem, counts: list[bool]) -> tg.bptt.Problem:
    """The same run of which only some losses count."""

    def step(p: Any, s: Any, at: Any) -> tuple[Any, Any]:
        s, loss = problem.step(p, s, at[0])
        return s, loss if at[1] else None

    inputs = [(problem.at(t), count) for t, count in enumerate(counts)]
    return tg.bptt.Problem(problem.parameters, step, problem.carry, inputs)


def linear(matrix: np.ndarray, steps: int, dtype: str = "float64") -> tg.bptt.Problem:
    """s_t = s_{t−1} W, the only loss at the end: the messages are powers of W alone."""
    n = len(matrix)

    def step(w: Any, s: Any, last: Any) -> tuple[Any, Any]:
        s = s @ w
        return s, s.sum() if last else None

    start = tg.ones((1, n), dtype=dtype)
    return tg.bptt.Problem(tg.tensor(matrix.astype(dtype), requires_grad=True), step, start,
                           [t == steps - 1 for t in range(steps)])  # fmt: skip


def orthogonal(n: int = H, seed: int = 0) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(n, n)))[0]


def drawn(plot: Plot, panel: int = 0) -> dict[str, np.ndarray]:
    """The lines of a panel by their label."""
    return {str(line.get_label()): np.asarray(line.get_ydata()) for line in plot.figure().axes[panel].lines}


def texts(plot: Plot) -> str:
    from matplotlib.text import Text

    return "\n".join(text.get_text() for text in plot.figure().findobj(Text))


# norms


def test_norms_obey_the_recursion_of_the_messages() -> None:
    problem, given = plain(np.random.default_rng(1))
    s, m, found = states(given), np.zeros((1, H)), []
    for t in reversed(range(T)):
        g = s[t] - given["y"][t]
        found.append([np.linalg.norm(v) for v in (g, m, g + m)])
        m = ((g + m) * (1 - s[t] ** 2)) @ given["W"].T
    data = viz.norms(problem).data
    np.testing.assert_allclose(np.array(found[::-1]).T, [data["g"], data["m"], data["delta"]], **CLOSE)


def test_the_lines_are_the_norms_and_the_last_message_which_is_none_is_not_drawn() -> None:
    problem, _ = plain(np.random.default_rng(1))
    plot = viz.norms(problem)
    lines = list(drawn(plot).values())
    np.testing.assert_array_equal(lines[0], plot.data["delta"])
    np.testing.assert_array_equal(lines[1], plot.data["m"][:-1])
    np.testing.assert_array_equal(lines[2], plot.data["g"])


@pytest.mark.parametrize("factor", [1.0, 0.9, 1.1])
def test_a_scaled_rotation_gives_a_straight_line_with_its_factor(factor: float) -> None:
    plot = viz.norms(linear(factor * orthogonal(), 20))
    np.testing.assert_allclose(np.diff(np.log(plot.data["delta"])), -np.log(factor), atol=1e-10)
    assert f"× {factor:g} a step" in texts(plot)


def test_lines_stand_at_their_steps_above_what_is_read() -> None:
    problem, _ = plain(np.random.default_rng(1))
    axes = viz.norms(problem, text="a b\ncd").figure().axes[0]
    assert [list(line.get_xdata()) for line in axes.lines] == [[*range(T)], [*range(T - 1)], [*range(T)]]
    assert [label.get_text() for label in axes.get_xticklabels()] == [*"a␣b⏎cd"]
    assert list(axes.get_xticks()) == [*range(T)]


def test_several_problems_are_overlaid_in_a_panel_for_each_norm() -> None:
    named = {cell: example("synced", cell, hidden=3) for cell in ("ElmanRNN", "LSTM")}
    plot = viz.norms(named)
    for name, problem in named.items():
        for part, values in tg.bptt.message_norms(problem)._asdict().items():
            np.testing.assert_array_equal(plot.data[f"{name}/{part}"], values.array)
    assert len(plot.figure().axes) == 3
    for panel, part in enumerate(("delta", "m", "g")):
        lines = drawn(plot, panel)
        end = -1 if part == "m" else None
        for name in named:
            values = plot.data[f"{name}/{part}"][:end]
            np.testing.assert_array_equal(lines[name], np.where(values > 0, values, np.nan))


def test_norms_of_zero_are_marked_at_the_edge_and_the_smallest_float_is_shown_once_it_is_near() -> None:
    plot = viz.norms(linear(np.array([[1e-2]]), 40, "float32"))
    zeros = int((plot.data["delta"] == 0).sum())
    assert zeros > 0 and "smallest normal float32, 1.18·10⁻³⁸" in texts(plot) and "exactly 0" in texts(plot)
    assert marks(plot) == [(t, 0.0) for t in range(zeros)]
    near = viz.norms(linear(orthogonal(), 5))
    assert "smallest normal" not in texts(near) and "exactly 0" not in texts(near)


def test_norms_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="no problems to draw"):
        viz.norms({})


# lag


@pytest.mark.parametrize("wrt", [None, "W"])
def test_the_lag_map_adds_up_to_the_gradients_of_its_rows_and_columns(wrt: str | None) -> None:
    problem, given = plain(np.random.default_rng(2))
    data = viz.lag(problem, wrt).data
    assert not np.triu(data["norms"], 1).any()
    for t in range(T):
        only = [s == t for s in range(T)]
        gradient = tg.bptt.gradient(masked(problem, only)).gradients
        square = sum((gradient[name].numpy() ** 2).sum() for name in ("UW" if wrt is None else wrt))
        np.testing.assert_allclose(data["losses"][t], np.sqrt(square), **CLOSE)
    s, m, uses = states(given), np.zeros((1, H)), []
    for t in reversed(range(T)):
        error = (s[t] - given["y"][t] + m) * (1 - s[t] ** 2)
        m = error @ given["W"].T
        use = {"W": (s[t - 1] if t else 0 * s[0]).T @ error, "U": given["x"][t].T @ error}
        uses.append(np.sqrt(sum((use[n] ** 2).sum() for n in ("UW" if wrt is None else wrt))))
    np.testing.assert_allclose(data["uses"], uses[::-1], **CLOSE)


def test_the_cells_of_the_lag_map_are_its_norms_zeros_and_the_future_masked() -> None:
    problem, _ = plain(np.random.default_rng(2))
    plot = viz.lag(problem, "W")
    meshes = {mesh.get_gid(): mesh.get_array() for mesh in plot.figure().axes[0].collections}
    norms = plot.data["norms"]
    np.testing.assert_array_equal(meshes["lag"].filled(0), norms)
    np.testing.assert_array_equal(np.ma.getmaskarray(meshes["lag"]), norms == 0)
    assert not norms[:, 0].any() and (~np.ma.getmaskarray(meshes["zeros"])).sum() == T  # W meets no state at τ = 0
    svg = plot.render("svg").decode()
    assert f"loss 3, use 2: {norms[3, 2]:.6g}" in svg and "loss 2, use 3" not in svg and "loss 3, use 0" not in svg
    assert svg.count("<title>loss ") == (norms > 0).sum()


def test_the_margins_the_scale_and_the_letters_of_the_lag_map_are_where_they_belong() -> None:
    problem, _ = plain(np.random.default_rng(2))
    plot = viz.lag(problem, "W", text="abcdef")
    main, right, below = plot.figure().axes[:3]
    bars = [(bar.get_y() + bar.get_height() / 2, bar.get_width()) for bar in right.patches]
    np.testing.assert_allclose(bars, [*enumerate(plot.data["losses"])], atol=1e-12)
    bars = [(bar.get_x() + bar.get_width() / 2, bar.get_height()) for bar in below.patches]
    np.testing.assert_allclose(bars, [*enumerate(plot.data["uses"])], atol=1e-12)
    mesh = next(each for each in main.collections if each.get_gid() == "lag")
    norms = plot.data["norms"]
    assert (mesh.norm.vmin, mesh.norm.vmax) == (norms[norms > 0].min(), norms.max())
    np.testing.assert_array_equal(mesh.get_coordinates()[0, :, 0], np.arange(T + 1) - 0.5)
    assert main.get_ylim() == (T - 0.5, -0.5)
    assert [label.get_text() for label in main.get_yticklabels()] == [*"abcdef"]
    assert [label.get_text() for label in below.get_xticklabels()] == [*"abcdef"]
    (dots,) = main.lines  # in cells that are exactly 0
    assert {*zip(dots.get_xdata(), dots.get_ydata(), strict=True)} == {(0, t) for t in range(T)}


def test_colours_of_the_lag_map_span_twelve_powers_of_ten_at_most() -> None:
    step = lambda w, s, x: (1e-5 * s + w * x, 1e-5 * s + w * x)  # noqa: E731
    given = tg.tensor(1.0, dtype="float64", requires_grad=True), step, tg.tensor(0.0, dtype="float64")
    for steps, powers in ((3, 10), (5, 12)):
        figure = viz.lag(tg.bptt.Problem(*given, tg.ones(steps, dtype="float64"))).figure()
        scale = figure.axes[0].collections[-1].norm
        assert scale.vmax / scale.vmin == pytest.approx(10.0**powers)
        assert ("or less" in [axes.get_xlabel() for axes in figure.axes]) == (powers == 12)


def test_a_state_that_is_cut_at_each_step_leaves_the_diagonal() -> None:
    problem, _ = plain(np.random.default_rng(3))
    cut = tg.bptt.Problem(
        problem.parameters, lambda p, s, at: problem.step(p, tg.detach(s), at), problem.carry, problem.xs
    )
    norms = viz.lag(cut).data["norms"]
    assert (np.diag(norms) > 0).all() and not (norms - np.diag(np.diag(norms))).any()


def test_a_lag_map_too_large_to_add_up_has_no_margins(monkeypatch: pytest.MonkeyPatch) -> None:
    problem, _ = plain(np.random.default_rng(2))
    whole = viz.lag(problem)
    monkeypatch.setattr(sys.modules["viz.plots.lag"], "MOST", 10)
    small = viz.lag(problem)
    np.testing.assert_allclose(small.data["norms"], whole.data["norms"], **CLOSE)
    assert set(small.data) == {"norms"} and len(small.figure().axes) == 2  # the map and its scale


def test_a_lag_map_of_states_and_inputs_is_made_of_their_derivatives() -> None:
    problem, given = plain(np.random.default_rng(8))
    s, W, m = states(given), given["W"], tg.bptt.message_norms(problem).m.array
    reached = np.zeros((2, T, T))
    for t in range(T):
        message = s[t] - given["y"][t]
        for tau in range(t, -1, -1):
            error = message * (1 - s[tau] ** 2)
            message = error @ W.T
            reached[:, t, tau] = np.linalg.norm(message), np.linalg.norm(error @ given["U"].T)
        reached[1, t, t] = np.hypot(reached[1, t, t], np.linalg.norm(s[t] - given["y"][t]))  # y is given to a step too
    for wanted, what in zip(reached, ("state", "x"), strict=True):
        data = viz.lag(problem, what).data
        np.testing.assert_allclose(data["norms"], wanted, **CLOSE)
        np.testing.assert_allclose(data["losses"], np.sqrt((wanted**2).sum(1)), **CLOSE)
    np.testing.assert_allclose(viz.lag(problem, "state").data["uses"][1:], m[:-1], **CLOSE)
    with pytest.raises(ValueError, match="'x' needs the same real numbers at each step; this run has no real numbers"):
        viz.lag(linear(np.eye(2), 3), "x")
    with pytest.raises(ValueError, match="shapes that change"):
        viz.lag(example("encoder-decoder-attention", "GRU", hidden=3), "state")


def test_what_leaves_the_range_of_floats_is_said_or_marked() -> None:
    exploding = linear(1e30 * np.eye(1), 16)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plot = viz.norms(exploding)
        assert plot.render("png")
        finite = plot.data["delta"][np.isfinite(plot.data["delta"])]
        low, high = plot.figure().axes[0].get_ylim()
        assert low < finite.min() < 1e10 and 1e290 < finite.max() < high
        assert marks(plot) == [(t, 1.0) for t in range(5)] and np.isfinite(plot.data["delta"]).sum() == 11
        with pytest.raises(ValueError, match=r"lag: C\[12, \d+\] is (inf|nan), no finite number; draw the steps"):
            viz.lag(exploding)
    with np.errstate(over="ignore"):  # matplotlib's ticks
        assert "upper edge: not finite" in texts(plot)


def marks(plot: Plot) -> list[tuple[float, float]]:
    """The steps marked at the edges of the first panel, and at which: 0 is the lower one."""
    lines = [line for line in plot.figure().axes[0].lines if line.get_linestyle() == "None"]
    return [(x, y) for line in lines for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)]


def test_products_beyond_floats_are_left_out_and_those_that_have_all_but_vanished_are_drawn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for factor, kept in ((1e30, 10), (1e-30, 10)):
            plot = viz.jacobians(linear(factor * np.eye(1), 16))
            line = drawn(plot, 1)["the largest"]
            np.testing.assert_allclose(np.log(line[-kept:]), np.log(factor) * np.arange(kept, 0.0, -1), rtol=1e-10)
            assert np.isnan(line[: 15 - kept]).all()
            low, high = plot.figure().axes[1].get_ylim()
            assert low < np.nanmin(line) and np.nanmax(line) < high and plot.render("png")


def test_singular_values_within_the_rounding_of_the_largest_are_not_drawn() -> None:
    plot = viz.jacobians(linear(np.diag([1.0, 1e-6]), 4))
    smaller = np.ravel(plot.figure().axes[1].lines[1].get_ydata())
    np.testing.assert_allclose(smaller, [np.nan, np.nan, 1e-12, 1e-6])
    np.testing.assert_allclose(plot.data["products"][:, 0], 1)


def test_the_lag_map_of_one_step_is_drawn() -> None:
    assert viz.lag(linear(np.eye(1), 1)).render("png").startswith(b"\x89PNG")


def test_what_no_loss_depends_on_is_refused() -> None:
    problem = tg.bptt.Problem(
        tg.tensor(1.0, requires_grad=True), lambda w, s, x: (s + x, s + x), tg.tensor(0.0), tg.ones(3)
    )
    with pytest.raises(ValueError, match="no loss of this run depends on all parameters"):
        viz.lag(problem)
    with pytest.raises(ValueError, match="there is no parameter 'V'; there are U, W"):
        viz.lag(plain(np.random.default_rng(0))[0], "V")


# Jacobians


def test_spectra_are_those_of_the_jacobians_written_out() -> None:
    problem, given = plain(np.random.default_rng(4))
    s = states(given)
    # ∂s_t/∂s_{t−1} as columns: the transpose of W diag(1 − s²), whose rows are the old units
    matrices = [(given["W"] * (1 - s[t] ** 2)).T for t in range(T)]
    products, product = [], np.eye(H)
    for matrix in reversed(matrices):
        product = product @ matrix
        products.append(np.linalg.svd(product, compute_uv=False))
    data = viz.jacobians(problem).data
    np.testing.assert_allclose(data["steps"], [np.linalg.svd(m, compute_uv=False) for m in matrices], **CLOSE)
    np.testing.assert_allclose(data["products"], products[::-1], **CLOSE)
    wanted = [np.sort_complex(np.linalg.eigvals(m)) for m in matrices]
    np.testing.assert_allclose(np.sort_complex(data["eigenvalues"]), wanted, **CLOSE)
    assert (data["products"][:, 0] <= np.cumprod(data["steps"][::-1, 0])[::-1] * (1 + 1e-12)).all()
    np.testing.assert_array_equal(data["lyapunov"], tg.bptt.lyapunov_exponents(problem, 1).array)


def test_a_rotation_has_singular_values_of_one_and_no_exponent() -> None:
    plot = viz.jacobians(linear(orthogonal(), 8))
    for name in ("steps", "products"):
        np.testing.assert_allclose(plot.data[name], 1, atol=1e-10)
    np.testing.assert_allclose(abs(plot.data["eigenvalues"]), 1, atol=1e-10)
    np.testing.assert_allclose(plot.data["lyapunov"], 0, atol=1e-10)


def test_the_dots_are_the_singular_values_and_the_eigenvalues() -> None:
    problem, _ = plain(np.random.default_rng(4))
    plot = viz.jacobians(problem)
    axes = plot.figure().axes
    np.testing.assert_array_equal(drawn(plot, 0)["the largest"], plot.data["steps"][:, 0])
    np.testing.assert_array_equal(drawn(plot, 1)["the largest"], plot.data["products"][:, 0])
    (exponent,) = (line for line in axes[1].lines if str(line.get_label()).startswith("e^("))
    lags = np.asarray(exponent.get_xdata())
    np.testing.assert_allclose(exponent.get_ydata(), np.exp(plot.data["lyapunov"][0] * lags), rtol=1e-12)
    dots = np.asarray(axes[2].collections[0].get_offsets())
    flat = plot.data["eigenvalues"].ravel()
    np.testing.assert_array_equal(dots, np.stack([flat.real, flat.imag], 1))
    np.testing.assert_array_equal(axes[2].collections[0].get_array(), np.repeat(np.arange(T), H))
    np.testing.assert_array_equal(axes[1].lines[1].get_xdata(), np.arange(T, 0, -1))
    for panel, name in ((axes[0], "steps"), (axes[1], "products")):
        others = np.stack([line.get_ydata() for line in panel.lines[1:H]], 1)
        np.testing.assert_array_equal(others, plot.data[name][:, 1:])


def test_of_a_wide_net_the_eigenvalues_of_some_steps_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    problem, _ = plain(np.random.default_rng(4))
    whole = viz.jacobians(problem)
    monkeypatch.setattr(sys.modules["viz.plots.spectra"], "WORK", 3 * H**3)
    some = viz.jacobians(problem)
    assert whole.data["at"].tolist() == [*range(T)] and some.data["at"].tolist() == [0, 2, 5]
    np.testing.assert_array_equal(some.data["eigenvalues"], whole.data["eigenvalues"][[0, 2, 5]])
    np.testing.assert_array_equal(some.figure().axes[2].collections[0].get_array(), np.repeat([0, 2, 5], H))


def test_the_eigenvalues_of_a_state_that_changes_are_those_of_the_steps_that_keep_it() -> None:
    problem = example("encoder-decoder-attention", "ElmanRNN", hidden=3)
    matrices, data = tg.bptt.jacobians(problem), viz.jacobians(problem).data
    assert 0 < len(data["at"]) < len(matrices)
    for t, values in zip(data["at"], data["eigenvalues"], strict=True):
        np.testing.assert_allclose(np.sort_complex(values), np.sort_complex(np.linalg.eigvals(matrices[t])), rtol=1e-12)


def test_without_products_there_are_two_panels_and_a_changing_state_has_no_exponent() -> None:
    problem, _ = plain(np.random.default_rng(4))
    assert "products" not in viz.jacobians(problem, product=False).data
    mixed = viz.jacobians(example("encoder-decoder-attention", "ElmanRNN", hidden=3))
    assert "lyapunov" not in mixed.data and mixed.render("svg")


# clipping


def test_what_clipping_leaves_has_the_norm_drawn_and_the_direction_it_had() -> None:
    rng, norms, left = np.random.default_rng(5), [], []
    for scale in np.exp(rng.normal(size=30)):
        gradient = scale * rng.normal(size=(3, 2)) / 2
        held = {"w": tg.tensor(gradient.copy())}
        norms.append(tg.optim.clip_by_global_norm(held, 1.0))
        after = held["w"].numpy()
        left.append(np.linalg.norm(after))
        cosine = (after * gradient).sum() / np.linalg.norm(after) / np.linalg.norm(gradient)
        assert cosine == pytest.approx(1, abs=1e-12)
    plot = viz.clip(norms, 1.0)
    np.testing.assert_allclose(plot.data["after"], left, rtol=1e-12)
    assert (plot.data["after"] <= 1).all() and 0 < sum(n > 1 for n in norms) < 30
    assert f"{np.mean(np.array(norms) > 1):.0%} of 30 gradients" in plot.title
    marks = [np.asarray(c.get_offsets())[:, 1] for c in plot.figure().axes[0].collections if len(c.get_offsets()) > 1]
    np.testing.assert_array_equal(np.sort(np.concatenate(marks)), np.sort(norms))
    top, below = plot.figure().axes
    before, after = plot.data["before"], plot.data["after"]
    for dots in top.collections[1:]:
        at = np.asarray(dots.get_offsets())
        np.testing.assert_array_equal(before[at[:, 0].astype(int) - 1], at[:, 1])
    falls = np.array([segment[:, 1] for segment in top.collections[0].get_segments()])
    np.testing.assert_array_equal(falls, np.stack([after, before], 1)[before > 1])
    for stairs in below.patches:
        values, edges, _ = stairs.get_data()
        np.testing.assert_array_equal(values, 100 * plot.data["share"])
        np.testing.assert_array_equal(edges, np.arange(31) + 0.5)


def test_a_norm_at_the_threshold_is_not_clipped() -> None:
    plot = viz.clip([1.0, 1.0], 1.0)
    assert "0% of 2 gradients" in plot.title and not plot.data["share"].any()


def test_the_share_is_over_the_last_twentieth_and_records_of_a_run_will_do() -> None:
    norms = np.random.default_rng(6).exponential(size=60)
    data = viz.clip([{"step": i, "gradient_norm": float(n)} for i, n in enumerate(norms)], 1.0).data
    wanted = [np.mean(norms[max(0, i - 2) : i + 1] > 1) for i in range(60)]
    np.testing.assert_allclose(data["share"], wanted, rtol=1e-12)


@pytest.mark.parametrize(
    ("history", "threshold", "complaint"),
    [([], 1.0, "0 updates"), ([1.0], 0.0, "threshold=0.0"), ([1.0, float("nan")], 1.0, "update 2 is nan")],
)
def test_histories_without_norms_are_refused(history: list[float], threshold: float, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        viz.clip(history, threshold)


# style


def test_lines_differ_by_more_than_colour_and_can_be_seen() -> None:
    from viz.plots.axes import COLOURS, look

    looks = [look(i) for i in range(30)]
    assert len({(one.color, str(one.linestyle)) for one in looks}) == 30
    for one, other in itertools.pairwise(looks):
        assert one.linestyle != other.linestyle and one.marker != other.marker
    assert min(contrast(colour, "#ffffff") for colour in COLOURS) > 4.5
