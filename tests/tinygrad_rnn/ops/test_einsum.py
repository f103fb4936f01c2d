"""einsum on any subscripts: NumPy's values, and derivatives that agree with each other."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg

LETTERS = "abcd"
SIZES = dict(zip(LETTERS, (2, 3, 1, 2), strict=True))


@st.composite
def subscripts(draw: st.DrawFn) -> str:
    """One to three terms, letters repeated within and between them, with or without an output and an ellipsis."""
    terms = draw(st.lists(st.text(LETTERS, max_size=3), min_size=1, max_size=3))
    dots = draw(st.lists(st.booleans(), min_size=len(terms), max_size=len(terms)))
    cuts = [draw(st.integers(0, len(term))) for term in terms]
    terms = [t[:c] + "..." + t[c:] if dot else t for t, dot, c in zip(terms, dots, cuts, strict=True)]
    if draw(st.booleans()):
        return ",".join(terms)
    output = draw(st.permutations(sorted(set("".join(terms)) - {"."})))
    output = output[: draw(st.integers(0, len(output)))]
    at = draw(st.integers(0, len(output)))
    return ",".join(terms) + "->" + "".join([*output[:at], *["..."] * any(dots), *output[at:]])


@given(text=subscripts(), seed=st.integers(0, 100), wide=st.booleans())
def test_values_are_numpys_and_vjp_is_the_transpose_of_jvp(text: str, seed: int, wide: bool) -> None:
    rng = np.random.default_rng(seed)
    shapes = []
    for term in text.split("->")[0].split(","):
        before, dots, after = term.partition("...")
        extra = ((2, 3), (3,))[seed % 2] if wide else (2,) if seed % 3 else ()
        shapes.append((*(SIZES[i] for i in before), *(extra if dots else ()), *(SIZES[i] for i in after)))
    xs = [rng.standard_normal(shape) for shape in shapes]
    y, pullback = tg.vjp(lambda *xs: tg.einsum(text, *xs), *xs)
    expected = np.einsum(text, *xs)
    assert y.shape == expected.shape
    np.testing.assert_allclose(y.numpy(), expected, rtol=1e-12, atol=1e-12)
    us, v = [rng.standard_normal(shape) for shape in shapes], rng.standard_normal(y.shape)
    _, t = tg.jvp(lambda *xs: tg.einsum(text, *xs), xs, us)
    moved = sum(np.einsum(text, *xs[:i], u, *xs[i + 1 :]) for i, u in enumerate(us))
    np.testing.assert_allclose(t.numpy(), moved, rtol=1e-12, atol=1e-12)
    backward = sum((g.numpy() * u).sum() for g, u in zip(pullback(v), us, strict=True))
    np.testing.assert_allclose(backward, (v * moved).sum(), rtol=1e-11, atol=1e-11)


def test_a_contraction_is_one_node() -> None:
    x, w = tg.ones((4, 2, 3)), tg.tensor(np.ones((3, 5)), requires_grad=True)
    node = tg.einsum("tbd,dh->bth", x, w).node
    assert node.op.name == "einsum" and node.inputs == (None, w.node)


def test_empty_axes_sum_to_zero() -> None:
    assert tg.einsum("ij,jk->ik", tg.zeros((2, 0)), tg.zeros((0, 3))).tolist() == [[0, 0, 0], [0, 0, 0]]
    assert tg.einsum("bi,bi->b", tg.zeros((0, 3)), tg.zeros((0, 3))).shape == (0,)
