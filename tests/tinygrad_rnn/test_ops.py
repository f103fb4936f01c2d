"""Every op against torch, central differences, its own other derivatives, and itself: other dtypes, layouts, devices.

The calls come from the table in cases/. Derivatives are those of L = Re Σ v̄ y + ½ Σ w |y|², with random v and w, so
that linear ops have second derivatives too. For complex x the gradient is ∂L/∂Re x + i ∂L/∂Im x.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tinygrad_rnn as tg
from tests.tinygrad_rnn.cases import Case, all_cases, torch
from tinygrad_rnn.node import local
from tinygrad_rnn.op import REGISTRY, Op
from tinygrad_rnn.ops import FAMILIES

CASES = all_cases()
ELEMENTWISE = [case for case in CASES if case.elementwise]
EPS = 1e-6

every_case = pytest.mark.parametrize("case", CASES, ids=str)
every_elementwise_case = pytest.mark.parametrize("case", ELEMENTWISE, ids=str)
needs_torch = pytest.mark.skipif(torch is None, reason="torch, the reference, is not installed")


class Call:
    """A case with its arrays: f as a function of the floating arrays alone, and a scalar loss of its outputs."""

    def __init__(self, case: Case, arrays: tuple[np.ndarray, ...] | None = None, device: str = "cpu") -> None:
        self.rng = np.random.default_rng(zlib.crc32(str(case).encode()))
        drawn = case.inputs(self.rng)
        self.case, self.arrays, self.device = case, drawn if arrays is None else arrays, device
        self.moving = [i for i, a in enumerate(self.arrays) if a.dtype.kind in "fc"]
        self.xs = [self.arrays[i] for i in self.moving]
        self.values = [y.numpy() for y in self.all_outputs(*self.arrays)]
        self.floating = [i for i, y in enumerate(self.values) if y.dtype.kind in "fc"]
        self.ys = [self.values[i] for i in self.floating]
        # Drawn in float64 whatever the dtype, so that two precisions are given the same numbers.
        self.vs = [self.like(y) for y in self.ys]
        self.us = [self.like(x) for x in self.xs]
        self.ws = [self.rng.uniform(0.5, 1.5, y.shape).astype(y.real.dtype) for y in self.ys]

    def like(self, a: np.ndarray) -> np.ndarray:
        values = self.rng.standard_normal(a.shape)
        if a.dtype.kind == "c":
            values = values + 1j * self.rng.standard_normal(a.shape)
        return np.asarray(values).astype(a.dtype)

    def tensor(self, x: Any) -> tg.Tensor:
        return x if isinstance(x, tg.Tensor) else tg.tensor(np.asarray(x), device=self.device)

    def tensors(self, arrays: Any) -> tuple[tg.Tensor, ...]:
        return tuple(self.tensor(a) for a in arrays)

    def all_outputs(self, *arrays: Any) -> tuple[tg.Tensor, ...]:
        out = self.case.f(*self.tensors(arrays))
        return tuple(out) if isinstance(out, tuple | list) else (out,)

    def f(self, *xs: Any) -> tuple[tg.Tensor, ...]:
        """The floating outputs, from the floating inputs."""
        arrays: list[Any] = list(self.arrays)
        for i, x in zip(self.moving, xs, strict=True):
            arrays[i] = x
        out = self.all_outputs(*arrays)
        return tuple(out[i] for i in self.floating)

    def loss(self, *xs: Any) -> tg.Tensor:
        total: Any = 0.0
        for y, v, w in zip(self.f(*xs), self.tensors(self.vs), self.tensors(self.ws), strict=True):
            total = total + tg.sum(tg.real(v.conj() * y) + 0.5 * w * tg.real(y.conj() * y))
        return total

    def gradients(self, *xs: Any) -> list[np.ndarray]:
        numbers = tuple(range(len(self.xs)))
        return [g.numpy() for g in tg.grad(self.loss, numbers)(*self.tensors(xs or self.xs))]

    def pull(self) -> list[np.ndarray]:
        _, pullback = tg.vjp(self.f, *self.tensors(self.xs))
        return [g.numpy() for g in pullback(self.tensors(self.vs))]

    def push(self) -> list[np.ndarray]:
        _, tangents = tg.jvp(self.f, self.tensors(self.xs), self.tensors(self.us))
        return [t.numpy() for t in tangents]

    def hessian_times_direction(self) -> list[np.ndarray]:
        moved = tg.hvp(self.loss, self.tensors(self.xs), self.tensors(self.us))
        return [h.numpy() for h in (moved if isinstance(moved, tuple) else (moved,))]

    def __bool__(self) -> bool:
        return bool(self.xs and self.ys)


def differences(f: Callable[..., list[np.ndarray]], xs: list[np.ndarray], us: list[np.ndarray]) -> list[np.ndarray]:
    """Central differences of f's outputs along the direction us."""
    ahead = f(*(x + EPS * u for x, u in zip(xs, us, strict=True)))
    behind = f(*(x - EPS * u for x, u in zip(xs, us, strict=True)))
    return [(a - b) / (2 * EPS) for a, b in zip(ahead, behind, strict=True)]


def numeric_gradients(f: Callable[..., float], xs: list[np.ndarray]) -> list[np.ndarray]:
    """Central differences of a scalar function by each entry, and by its imaginary part where it has one."""
    gradients = []
    for i, x in enumerate(xs):
        g = np.zeros_like(x)
        for at in np.ndindex(x.shape):
            for unit in (1, 1j) if x.dtype.kind == "c" else (1,):
                ahead, behind = x.copy(), x.copy()
                ahead[at] += EPS * unit
                behind[at] -= EPS * unit
                slope = (f(*xs[:i], ahead, *xs[i + 1 :]) - f(*xs[:i], behind, *xs[i + 1 :])) / (2 * EPS)
                g[at] += slope * unit
        gradients.append(g)
    return gradients


def assert_close(ours: list[np.ndarray], theirs: list[np.ndarray], tolerance: float, what: str) -> None:
    """Equal shapes; entries equal to ``tolerance`` relative to the array's largest entry."""
    assert len(ours) == len(theirs)
    for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        assert a.shape == b.shape, f"{what} {i}: shape {a.shape}, expected {b.shape}"
        if a.size and a.dtype.kind in "biu":
            assert (a == b).all(), f"{what} {i}: {a}, expected {b}"
        elif a.size:
            # A derivative that is zero comes out of differences as rounding noise: 1e-10 of values of order 1.
            largest = max(np.abs(a).max(), np.abs(b).max(), 1e-3)
            error = np.abs(a - b).max() / largest
            assert error <= tolerance, f"{what} {i}: off by {error:.1e} of the largest entry\n{a}\nexpected\n{b}"


def inner(a: list[np.ndarray], b: list[np.ndarray]) -> tuple[float, float]:
    """Re Σ ā b, and the size of what was added up."""
    products = [np.conj(x) * y for x, y in zip(a, b, strict=True)]
    return float(sum(p.sum().real for p in products)), float(sum(np.abs(p).sum() for p in products))


# against references


@needs_torch
@pytest.mark.parametrize("case", [case for case in CASES if case.torch is not None], ids=str)
def test_values_and_gradients_equal_torchs(case: Case) -> None:
    call = Call(case)
    given = [torch.from_numpy(a.copy()).requires_grad_(i in call.moving) for i, a in enumerate(call.arrays)]
    theirs = case.torch(*given)
    theirs = tuple(theirs) if isinstance(theirs, tuple | list) else (theirs,)
    assert_close(call.values, [y.detach().resolve_conj().numpy() for y in theirs], 1e-10, "value")
    if call and any(y.requires_grad for y in theirs):
        wrt = [given[i] for i in call.moving]
        pairs = [(theirs[i], torch.from_numpy(v)) for i, v in zip(call.floating, call.vs, strict=True)]
        outputs, cotangents = zip(*((y, v) for y, v in pairs if y.requires_grad), strict=True)
        gradients = torch.autograd.grad(outputs, wrt, cotangents, materialize_grads=True)
        assert_close(call.pull(), [g.resolve_conj().numpy() for g in gradients], 1e-10, "gradient")


@every_case
def test_vjp_and_jvp_equal_central_differences_and_each_other(case: Case) -> None:
    call = Call(case)
    if not call:
        assert not any(y.requires_grad for y in call.all_outputs(*call.arrays))
        return
    f = lambda *xs: [y.numpy() for y in call.f(*xs)]  # noqa: E731
    pulled, pushed = call.pull(), call.push()
    assert_close(pushed, differences(f, call.xs, call.us), 1e-6, "jvp of output")
    assert_close(pulled, numeric_gradients(lambda *xs: inner(call.vs, f(*xs))[0], call.xs), 1e-6, "vjp of input")
    forward, size = inner(call.vs, pushed)
    backward, _ = inner(pulled, call.us)
    assert abs(forward - backward) <= 1e-10 * size


@every_case
def test_second_derivatives_equal_differences_of_gradients_in_either_mode(case: Case) -> None:
    call = Call(case)
    if not call:
        return
    over_forward = call.hessian_times_direction()
    assert_close(over_forward, differences(call.gradients, call.xs, call.us), 1e-6, "hvp of input")

    def slope(*xs: Any) -> tg.Tensor:
        gradients = tg.grad(call.loss, tuple(range(len(xs))))(*xs)
        return sum(tg.sum(tg.real(u.conj() * g)) for u, g in zip(call.tensors(call.us), gradients, strict=True))

    over_reverse = tg.grad(slope, tuple(range(len(call.xs))))(*call.tensors(call.xs))
    assert_close([h.numpy() for h in over_reverse], over_forward, 1e-10, "reverse over reverse, of input")


# dtypes, layouts, devices, ownership


def with_precision(arrays: list[np.ndarray] | tuple[np.ndarray, ...], bits: int) -> tuple[np.ndarray, ...]:
    """The arrays with the floating ones in float<bits>, the complex ones in complex<2 bits>."""
    kinds = {"f": f"float{bits}", "c": f"complex{2 * bits}"}
    return tuple(a.astype(kinds.get(a.dtype.kind, a.dtype)) for a in arrays)


def assert_near(ours: list[np.ndarray], theirs: list[np.ndarray], tolerance: float, bits: int, what: str) -> None:
    """float<bits> (or its complex), and near by norm."""
    for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        assert a.dtype == with_precision([b], bits)[0].dtype, f"{what} {i} is {a.dtype}"
        if a.dtype.kind in "biu":
            assert (a == b).all(), f"{what} {i}: {a}, expected {b}"
            continue
        error = np.linalg.norm((a - b).ravel())
        assert error <= tolerance * np.linalg.norm(b.ravel()) + 1e-7, f"{what} {i}: off by {error:.1e}"


@every_case
def test_float32_is_kept_and_near_float64(case: Case) -> None:
    single = Call(case, with_precision(Call(case).arrays, 32))
    double = Call(case, with_precision(single.arrays, 64))
    assert_near(single.values, double.values, 1e-5, 32, "value")
    if single:
        assert_near(single.pull(), double.pull(), 1e-5, 32, "gradient")
        assert_near(single.push(), double.push(), 1e-5, 32, "jvp")


@pytest.mark.parametrize("case", [c for c in CASES if not any(np.iscomplexobj(a) for a in Call(c).arrays)], ids=str)
def test_float16_is_kept(case: Case) -> None:
    half = Call(case, with_precision(Call(case).arrays, 16))
    double = Call(case, with_precision(half.arrays, 64))
    assert_near(half.values, double.values, 1e-2, 16, "value")
    if half:
        assert_near(half.pull(), double.pull(), 5e-2, 16, "gradient")
        assert_near(half.push(), double.push(), 5e-2, 16, "jvp")


def fortran(a: np.ndarray) -> np.ndarray:
    return np.array(a, order="F")  # np.asfortranarray gives a 0-d array an axis


def reversed_strides(a: np.ndarray) -> np.ndarray:
    everywhere = (slice(None, None, -1),) * a.ndim
    return a[everywhere].copy()[everywhere]


def every_second(a: np.ndarray) -> np.ndarray:
    return np.repeat(a, 2, axis=-1)[..., ::2] if a.ndim else a


def read_only(a: np.ndarray) -> np.ndarray:
    a = a.copy()
    a.flags.writeable = False
    return a


LAYOUTS = {"fortran": fortran, "reversed": reversed_strides, "every-second": every_second, "const": read_only}


@every_case
def test_the_layout_of_the_inputs_changes_nothing(case: Case) -> None:
    plain = Call(case)
    for name, layout in LAYOUTS.items():
        call = Call(case, tuple(layout(a) for a in plain.arrays))
        assert_close(call.values, plain.values, 1e-14, f"{name}: value")
        if call:
            assert_close(call.pull(), plain.pull(), 1e-14, f"{name}: gradient")
            assert_close(call.push(), plain.push(), 1e-14, f"{name}: jvp")


@every_case
@pytest.mark.parametrize("device", ["strict", pytest.param("cuda:0", marks=pytest.mark.gpu)], indirect=True)
def test_other_devices_give_what_the_cpu_gives(case: Case, device: str) -> None:
    here = Call(case)
    there = Call(case, device=device)
    assert_close(there.values, here.values, 1e-12, "value")
    if here:
        assert_close(there.pull(), here.pull(), 1e-12, "gradient")
        assert_close(there.push(), here.push(), 1e-12, "jvp")
        assert_close(there.hessian_times_direction(), here.hessian_times_direction(), 1e-12, "hvp")


@every_case
def test_gradients_handed_out_are_contiguous_writable_and_nobody_elses(case: Case) -> None:
    call = Call(case)
    if not call:
        return
    xs = [tg.tensor(a, requires_grad=i in call.moving) for i, a in enumerate(call.arrays)]
    ys = [y for y in call.all_outputs(*xs) if y.requires_grad]
    cotangents = [tg.tensor(call.like(y.data)) for y in ys]
    for y, v in zip(ys, cotangents, strict=True):
        y.backward(v, retain_graph=True)
    gradients = [x.grad.data for x in xs if x.grad is not None]
    if ys:
        assert gradients
    others = [t.data for t in (*xs, *ys, *cotangents)]
    for g in [*gradients, *call.pull()]:
        assert type(g) is np.ndarray and g.flags.c_contiguous and g.flags.writeable
        assert not any(np.may_share_memory(g, other) for other in others if other is not g)
        others.append(g)


# shapes


SHAPES = {
    1: [[()], [(0,)], [(0, 3)], [(1, 1)]],
    2: [
        [(3, 4), (4,)], [(1,), (2, 3)], [(), (2,)], [(2,), ()], [(), ()], [(3, 1), (1, 4)], [(2, 1, 3), (4, 1)],
        [(0,), (1,)], [(2, 0), (2, 1)],
    ],
    3: [[(3, 4), (4,), ()], [(), (2, 3), (3,)], [(1,), (2, 1), (1, 3)], [(), (), ()], [(0,), (), (1,)]],
}  # fmt: skip


def check_broadcasting(case: Case, shapes: Any) -> None:
    """The op on arrays of these shapes does what it does on the same arrays broadcast by hand."""
    drawn = Call(case).arrays
    small = Call(case, tuple(np.resize(a, shape) if math.prod(shape) else np.empty(shape, a.dtype)
                             for a, shape in zip(drawn, shapes, strict=True)))  # fmt: skip
    shape = np.broadcast_shapes(*shapes)
    full = Call(case, tuple(np.broadcast_to(a, shape).copy() for a in small.arrays))
    assert small.values[0].shape == shape
    assert_close(small.values, full.values, 0, "value")
    assert [y.dtype for y in small.values] == [y.dtype for y in full.values]
    if not small:
        return
    full.vs = small.vs
    full.us = [np.broadcast_to(u, shape).copy() for u in small.us]
    assert_close(small.push(), full.push(), 1e-13, "jvp")
    for x, g, wide in zip(small.xs, small.pull(), full.pull(), strict=True):
        lead = wide.ndim - x.ndim
        stretched = tuple(range(lead)) + tuple(i + lead for i, n in enumerate(x.shape) if n == 1)
        assert_close([g], [wide.sum(stretched).reshape(x.shape)], 1e-13, "gradient")
        assert g.dtype == x.dtype


@every_elementwise_case
def test_elementwise_ops_broadcast_as_numpy_does(case: Case) -> None:
    for shapes in SHAPES[len(Call(case).arrays)]:
        check_broadcasting(case, shapes)


@given(data=st.data(), op=st.sampled_from(["add", "mul", "div", "maximum", "pow"]))
def test_any_two_shapes_that_numpy_broadcasts_do(data: st.DataObject, op: str) -> None:
    shapes = data.draw(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=4, max_side=3, min_side=0))
    check_broadcasting(next(case for case in ELEMENTWISE if case.op == op), shapes.input_shapes)


# the table itself


def test_every_public_op_has_a_case() -> None:
    public = {name for family in FAMILIES for name in family.__all__}
    assert public - {case.op for case in CASES} == set()


class Watch:
    """Remembers which ops were called, in rules too when they record."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def __call__(self, op: Op, arguments: tuple, parents: tuple, params: dict, output: Any) -> None:
        self.names.add(op.name)

    def looked(self, t: Any) -> None:
        pass

    def watch(self, on_message: Any) -> Any:
        return on_message


def test_every_declared_op_is_reached_by_some_case() -> None:
    frame = local.frame
    frame.watch = watch = Watch()
    try:
        for case in CASES:
            call = Call(case)
            if call:
                tg.grad(lambda *xs, call=call: call.loss(*xs), create_graph=True)(*call.tensors(call.xs))
    finally:
        frame.watch = None
    declared = {op.name for op in REGISTRY.values() if op.forward.__module__.startswith("tinygrad_rnn.ops")}
    assert declared - watch.names == set()


def test_no_two_cases_have_the_same_name() -> None:
    names = [str(case) for case in CASES]
    assert sorted(names) == sorted(set(names))
