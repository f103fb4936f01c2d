"""The two drivers: order, accumulation, messages, freeing, depth."""

import gc
import weakref

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.autodiff import pull, push
from tinygrad_rnn.cotangent import Deferred


def leaf(*shape, seed=0, name=None):
    return tg.tensor(np.random.default_rng(seed).standard_normal(shape), requires_grad=True, name=name)


def plain_rnn(T=5, B=3, I=2, H=4, cut=None):
    """A plain Elman loop in float64 with a loss at every step; the parameters and the loss."""
    rng = np.random.default_rng(1)
    U, W = leaf(I, H, seed=2, name="U"), leaf(H, H, seed=3, name="W")
    x = rng.standard_normal((T, B, I))
    h = tg.tensor(np.zeros((B, H)))
    loss = 0.0
    for t in tg.steps(T):
        h = tg.tanh(x[t] @ U + h @ W)
        loss = loss + (h * h).sum()
        if t == cut:
            h = tg.detach(h)
    return U, W, loss


def test_a_value_used_twice_gets_both_contributions_before_it_passes_its_own_on():
    a = tg.tensor(3.0, requires_grad=True)
    b = a + a
    (b * a).backward()
    assert a.grad.item() == 12.0  # d(2a²)/da


def test_reverse_and_forward_mode_agree_on_a_recurrent_net():
    U, W, loss = plain_rnn()
    g = pull([loss.node], [np.ones(())])
    tangents = {p.node: np.random.default_rng(9).standard_normal(p.shape) for p in (U, W)}
    forward = push([loss.node], tangents)[0]
    reverse = sum((g[node] * t).sum() for node, t in tangents.items())
    assert abs(forward - reverse) < 1e-12 * abs(reverse)


def test_the_weight_gradient_by_one_deferred_product_equals_the_sum_of_the_messages():
    _, W, loss = plain_rnn()
    messages = []

    def watch(edge, message):
        if edge.parent is W.node:
            assert type(message) is Deferred
            messages.append(message.value())

    loss.backward(on_message=watch, retain_graph=True)
    assert len(messages) == 5
    np.testing.assert_allclose(sum(messages), W.grad.numpy(), rtol=1e-12)


def test_watching_changes_no_bit():
    grads = []
    for watch in (None, lambda edge, message: None):
        U, W, loss = plain_rnn(T=9)
        loss.backward(on_message=watch)
        grads.append((U.grad.numpy(), W.grad.numpy()))
    for a, b in zip(*grads, strict=True):
        assert (a == b).all()


def test_messages_into_a_node_add_up_to_its_cotangent():
    x = leaf(3)
    y = tg.tanh(x)
    z = y * y + tg.sin(y)
    into = []
    z.backward(np.ones(3), on_message=lambda e, m: into.append(m) if e.parent is y.node else None, retain_graph=True)
    assert len(into) == 3
    np.testing.assert_allclose(sum(into), 2 * y.numpy() + np.cos(y.numpy()), rtol=1e-14)


def test_ten_thousand_steps_need_no_recursion():
    w = tg.tensor(np.float64(0.9999), requires_grad=True)
    h = tg.tensor(np.float64(1.0))
    for _ in range(10_000):
        h = h * w
    h.backward()
    assert w.grad.item() == pytest.approx(10_000 * 0.9999**9_999, rel=1e-9)
    del h  # the chain of nodes dies without recursion too


def test_a_cotangent_takes_the_dtype_of_the_output():
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    for cotangent in (np.ones(2), tg.tensor(np.ones(2)), tg.tensor(np.array([1 + 5j, 1 - 5j]))):
        x.backward(cotangent)
        assert x.grad.tolist() == [1, 1] and x.grad.dtype == np.float32
        x.grad = None


@pytest.mark.parametrize("dtype", ["float64", "complex64"])
def test_a_tangent_has_the_dtype_of_the_output(dtype):
    x = tg.tensor([1.0, 2.0])
    y, tangent = tg.jvp(lambda x: x + np.ones(2, dtype), (x,), (x,))
    assert y.dtype == tangent.dtype == dtype


@pytest.mark.parametrize("arguments", [(1.0, (1.0,)), ((1.0,), 1.0)])
@pytest.mark.parametrize("transform", [tg.jvp, tg.hvp])
def test_primals_and_tangents_are_tuples(transform, arguments):
    with pytest.raises(TypeError, match="takes a tuple of arguments and one of tangents"):
        transform(tg.sin, *arguments)


def test_what_a_callback_saw_stays_as_it_was_when_gradients_add_up():
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    seen = []
    for _ in range(3):
        (tg.tap(x, seen.append) * 3.0).sum().backward(on_message=lambda edge, message: seen.append(message))
    assert x.grad.tolist() == [9, 9]
    assert all(set(np.asarray(message).tolist()) <= {1.0, 3.0} for message in seen)


def test_a_graph_dies_by_refcount():
    _, _, loss = plain_rnn()
    gc.collect()
    gc.disable()
    try:
        node = weakref.ref(loss.node)
        del loss
        assert node() is None
    finally:
        gc.enable()


def test_backward_frees_the_saved_arrays_but_keeps_the_structure():
    _, _, loss = plain_rnn()
    loss.backward()
    assert len(tg.Graph(loss)) > 20
    assert all(n.saved is None for n in tg.Graph(loss).nodes if n.inputs and n.op.name != "pick")
    with pytest.raises(RuntimeError, match=r"second backward pass through `add`.*retain_graph=True"):
        loss.backward()


def test_the_error_of_a_second_backward_names_the_step():
    x = leaf(2)
    for _ in tg.steps(4):
        x = tg.tanh(x)
    y = x.sum()
    y.backward()
    with pytest.raises(RuntimeError, match=r"`tanh` at t=3"):
        x.backward(np.ones(2))


def test_gradients_accumulate_over_backward_calls():
    x = leaf(3)
    for _ in range(2):
        (x * x).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 4 * x.numpy())


def test_gradients_handed_out_are_contiguous_writable_and_share_nothing():
    x, y = leaf(3, 4), leaf(3, 4, seed=1)
    seed = np.ones((4, 3))
    (x + y).T.backward(seed)
    for g in (x.grad.data, y.grad.data):
        assert g.flags.c_contiguous and g.flags.writeable and g.base is None
    assert x.grad.data is not y.grad.data
    x.grad.data[:] = 7
    assert (y.grad.data == 1).all() and (seed == 1).all()


def test_broadcasting_is_summed_away_and_the_dtype_is_that_of_the_primal():
    a = tg.tensor(np.ones((1, 4), "f4"), requires_grad=True)
    b = tg.tensor(np.full((3, 1), 2.0, "f8"), requires_grad=True)
    (a * b).sum().backward()
    assert a.grad.shape == (1, 4) and a.grad.dtype == np.float32 and (a.grad.numpy() == 6).all()
    assert b.grad.shape == (3, 1) and b.grad.dtype == np.float64 and (b.grad.numpy() == 4).all()


def test_detach_stops_the_gradient_and_shows_what_was_cut():
    _, W, full = plain_rnn()
    full.backward()
    exact = W.grad.numpy()
    _, W, cut = plain_rnn(cut=2)
    graph = tg.Graph(cut)
    assert len(graph.cuts) == 1 and graph.cuts[0][1].op.name == "tanh"
    cut.backward()
    assert np.abs(W.grad.numpy() - exact).max() > 1e-3


def test_a_detached_tensor_does_not_require_gradients_and_does_not_keep_its_past_alive():
    x = leaf(3)
    y = tg.tanh(x)
    past = weakref.ref(y.node)
    z = tg.detach(y)
    assert not z.requires_grad
    del y
    assert past() is None
    with pytest.raises(RuntimeError, match="no gradient passes through"):
        tg.tensor(1.0).backward()


def test_tap_shows_and_replaces_a_cotangent():
    x = leaf(3)
    seen = []
    tg.tap(x, seen.append).sum().backward()
    np.testing.assert_array_equal(seen[0], np.ones(3))
    x.grad = None
    tg.tap(x, lambda g: g * 0).sum().backward()
    assert (x.grad.numpy() == 0).all()


def test_no_grad_records_nothing():
    x = leaf(3)
    with tg.no_grad():
        y = tg.tanh(x)
    assert not y.requires_grad and tg.tanh(x).requires_grad


def test_create_graph_makes_gradients_differentiable():
    x = leaf(4)
    (x**3).sum().backward(create_graph=True)
    g = x.grad
    x.grad = None
    g.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 6 * x.numpy())


def test_gradient_nodes_inherit_the_scope_of_the_op_they_belong_to():
    x = leaf(4)
    with tg.scope("cell", "demo"):
        y = tg.tanh(x)
    y.backward(np.ones(4), create_graph=True)
    made = [n for n in tg.Graph(x.grad).nodes if n.seq > y.node.seq]
    assert made and all(str(n.scope) == "demo" for n in made)


def test_complex_gradients_follow_the_conjugate_convention():
    torch = pytest.importorskip("torch", reason="the oracle extra is not installed")
    rng = np.random.default_rng(0)
    z = rng.standard_normal(5) + 1j * rng.standard_normal(5)
    ours = tg.tensor(z, requires_grad=True)
    (tg.abs(ours * ours + 1j) ** 2).sum().backward()
    theirs = torch.tensor(z, requires_grad=True)
    ((theirs * theirs + 1j).abs() ** 2).sum().backward()
    np.testing.assert_allclose(ours.grad.numpy(), theirs.grad.numpy(), rtol=1e-12)


def test_the_gradient_of_a_real_primal_is_real():
    x = tg.tensor(np.array([1.0, 2.0]), requires_grad=True)
    z = x * np.array([1j, 2.0])
    (tg.abs(z) ** 2).sum().backward()
    assert x.grad.dtype == np.float64
    np.testing.assert_allclose(x.grad.numpy(), [2.0, 16.0])


@pytest.mark.parametrize(
    ("cotangent", "message"),
    [(None, r"shape \(2,\): a gradient needs a scalar"), (np.ones(3), r"has shape \(3,\), the output \(2,\)")],
)
def test_a_cotangent_that_does_not_fit_is_refused(cotangent, message):
    y = leaf(2) * 2
    with pytest.raises(ValueError, match=message):
        y.backward(cotangent)


def test_pairs_beyond_the_cap_are_summed_early_with_the_same_result(monkeypatch):
    _, W, loss = plain_rnn(T=30)
    loss.backward()
    monkeypatch.setattr("tinygrad_rnn.cotangent.CAP", 500)
    _, again, loss = plain_rnn(T=30)
    loss.backward()
    np.testing.assert_allclose(again.grad.numpy(), W.grad.numpy(), rtol=1e-12)


def test_a_recurrent_net_runs_the_same_on_every_device(device):
    rng = np.random.default_rng(0)
    values = [rng.standard_normal(s) for s in ((4, 3, 2), (2, 5), (5, 5))]

    def run(place):
        x, U, W = (tg.tensor(v, device=place, requires_grad=True) for v in values)
        h = tg.tensor(np.zeros((3, 5)), device=place)
        for t in tg.steps(4):
            h = tg.tanh(x[t] @ U + h @ W)
        (h * h).sum().backward()
        return [h.numpy(), *(p.grad.numpy() for p in (x, U, W))]

    for here, there in zip(run("cpu"), run(device), strict=True):
        np.testing.assert_allclose(there, here, rtol=1e-12, atol=1e-14)


def test_what_is_made_of_detached_values_alone_is_a_constant():
    w = tg.tensor(2.0, requires_grad=True)
    total = tg.tensor(0.0)
    for _ in range(5):
        total = total + tg.detach(w * w)  # a running sum of losses must not grow a graph
    assert total.item() == 20 and total.node is None
    assert tg.stack([total, tg.detach(w)]).node is None and (w * tg.detach(w)).requires_grad
    for y in (tg.detach(w), 2 * tg.detach(w)):
        with pytest.raises(RuntimeError, match="no gradient passes through"):
            y.backward()


def test_an_accumulated_gradient_of_a_number_stays_an_array():
    x = tg.tensor(2.0, requires_grad=True)
    for _ in range(2):
        (x * x).backward()
    assert type(x.grad.data) is np.ndarray and x.grad.item() == 8
    held = x.grad.data
    (x * x).backward()
    assert held.item() == 8 and x.grad.item() == 12


def test_complex_messages_are_conjugated_like_gradients_deferred_ones_too():
    w = tg.tensor(np.array([[1 + 2j]]), requires_grad=True)
    messages = {}

    def watch(edge, message):
        messages[edge.parent] = message.value() if type(message) is Deferred else message

    y = np.array([[3 - 1j]]) @ w
    (tg.abs(y) ** 2).sum().backward(on_message=watch, retain_graph=True)
    np.testing.assert_allclose(messages[w.node], w.grad.numpy())
    np.testing.assert_allclose(messages[y.node], w.grad.numpy() / (3 + 1j))


def test_messages_pass_along_the_edges_of_the_graph_and_only_down_to_what_is_asked_for():
    x = leaf(4)
    a, b = tg.split(tg.tanh(x), 2)
    loss = (a * b * b).sum()
    edges: set = set()
    loss.backward(on_message=lambda e, m: edges.add(e), retain_graph=True)
    assert edges == set(tg.Graph(loss).edges)
    edges.clear()
    found = pull([loss.node], [np.ones(())], wrt=[a.node], on_message=lambda e, m: edges.add(e))
    np.testing.assert_allclose(found[a.node], b.numpy() ** 2)
    assert {e.child.op.name for e in edges} == {"sum", "mul"}


@pytest.mark.parametrize(("a", "b"), [((0, 3), (3, 2)), ((2, 0), (0, 3)), ((2, 3), (3, 0)), ((5, 0, 3), (3, 2))])
def test_a_product_of_nothing_has_gradients(a, b):
    a, b = leaf(*a), leaf(*b)
    (a @ b).sum().backward()
    assert (a.grad.shape, b.grad.shape) == (a.shape, b.shape) and not b.grad.numpy().any()


@pytest.mark.parametrize("shape", [(2, 3), (3,), (1, 3, 3)])
def test_a_rule_whose_cotangent_does_not_fit_is_named_with_its_place(shape):
    x = leaf(3, 2)
    with tg.scope("module", "cell"):
        y = tg.tap(x, lambda g: np.ones(shape))
    with pytest.raises(ValueError, match=r"shape \(.*\) for an argument of shape \(3, 2\)") as error:
        y.sum().backward()
    assert error.value.__notes__ == ["in the backward pass through `tap` at cell"]
    assert x.grad is None
