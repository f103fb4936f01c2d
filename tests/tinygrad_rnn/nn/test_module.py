"""Modules: what their attributes mean, paths and names, state, devices, derivatives with respect to them."""

import copy
import pickle
from typing import NamedTuple

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.random import Generator


class State(NamedTuple):
    h: tg.Tensor
    c: tg.Tensor


class Cell(nn.Module):
    def __init__(self, size, rng):
        self.U = nn.parameter(rng.fork("U").normal((size, size), std=0.5))
        self.initial = State(nn.parameter(np.zeros(size, "float32")), tg.tensor(np.ones(size, "float32")))

    def forward(self, x, h):
        return tg.tanh(x + h @ self.U)


class Net(nn.Module):
    def __init__(self, seed=0):
        rng = Generator(seed)
        self.encoder = nn.Linear(3, 4, rng=rng.fork("encoder"))
        self.cells = []
        for i in range(2):
            self.cells.append(Cell(4, rng.fork("cell", i)))
        self.heads = {"mean": nn.Linear(4, 2, rng=rng.fork("mean"))}
        self.scale = tg.tensor(np.float32(0.5))
        self.title = "a net"

    def forward(self, x):
        x = self.encoder(x)
        for cell in self.cells:
            x = cell(x, cell.initial.h + x)
        return self.scale * self.heads["mean"](x)


TRAINED = [
    "encoder/weight",
    "encoder/bias",
    "cells/0/U",
    "cells/0/initial/h",
    "cells/1/U",
    "cells/1/initial/h",
    "heads/mean/weight",
    "heads/mean/bias",
]
BUFFERS = ["cells/0/initial/c", "cells/1/initial/c", "scale"]
X = np.random.default_rng(3).standard_normal((5, 3))


def loss(net, x=X):
    y = net(tg.tensor(x, dtype=net.scale.dtype))
    return (y * y).sum()


def test_attributes_are_parameters_buffers_and_children_in_the_order_they_were_set():
    net = Net()
    assert list(net.parameters_by_path()) == TRAINED
    assert set(net.state_dict()) == {*TRAINED, *BUFFERS}
    assert [path for path, _ in net.named_parameters()] == TRAINED
    assert all(a is b for a, b in zip(net.parameters(), net.parameters_by_path().values(), strict=True))
    assert net.modules() == [net, net.encoder, *net.cells, net.heads["mean"]]


def test_a_parameter_is_named_by_its_path():
    net = Net()
    assert net.encoder.weight.name == "encoder/weight"  # told when the child was set
    assert [p.name for p in net.parameters()] == TRAINED  # and those that came by append, when first listed
    net.cells[0].parameters_by_path()
    assert net.cells[0].U.name == "cells/0/U"  # asking a child does not shorten it


def test_nodes_are_tagged_with_the_path_of_the_module_that_made_them():
    net = Net()
    net.parameters()
    out = loss(net)
    scopes = {str(node.scope) for node in tg.Graph(out).nodes if node.scope is not None}
    assert scopes == {"encoder", "cells/0", "cells/1", "heads/mean"}


def test_an_error_inside_a_child_names_its_path():
    with pytest.raises(ValueError, match=r"matmul at encoder: .*inner sizes 5 and 3 differ"):
        Net()(tg.ones((2, 5)))


def test_tied_weights_are_one_parameter():
    net = Net()
    net.cells[1].U = net.cells[0].U
    assert "cells/1/U" not in net.parameters_by_path()
    assert "cells/1/U" not in net.state_dict()
    both = tg.grad(loss)(net)["cells/0/U"].numpy()
    loss(net).backward()
    np.testing.assert_allclose(net.cells[1].U.grad.numpy(), both, rtol=1e-6)


def test_a_module_that_holds_itself_is_walked_once():
    net = Net()
    net.heads["self"] = net
    assert list(net.parameters_by_path()) == TRAINED


def test_what_an_op_made_is_neither_parameter_nor_buffer():
    net = Net()
    net.kept = net(tg.tensor(X, dtype="float32"))
    assert "kept" not in net.parameters_by_path()
    assert "kept" not in net.state_dict()


def test_a_frozen_parameter_is_a_buffer():
    net = Net()
    net.encoder.bias.requires_grad = False
    assert "encoder/bias" not in tg.grad(loss)(net)
    assert "encoder/bias" in net.state_dict()


def test_a_module_without_forward_says_so():
    with pytest.raises(NotImplementedError, match="Empty has no forward"):
        type("Empty", (nn.Module,), {})()(1.0)


def test_the_gradient_of_a_module_is_a_dict_by_path_and_agrees_with_backward():
    net = Net().astype("float64")
    value, gradient = tg.value_and_grad(loss)(net)
    again = loss(net)
    again.backward()
    assert list(gradient) == TRAINED
    assert value.item() == again.item()
    for path, p in net.named_parameters():
        np.testing.assert_allclose(gradient[path].numpy(), p.grad.numpy(), rtol=1e-12, err_msg=path)


def test_the_gradient_of_a_module_agrees_with_central_differences():
    net = Net().astype("float64")
    gradient, v = tg.grad(loss)(net), _directions(net)
    slope = sum((gradient[path].numpy() * v[path]).sum() for path in v)
    difference = (_moved(net, v, 1e-6, loss).item() - _moved(net, v, -1e-6, loss).item()) / 2e-6
    assert slope == pytest.approx(difference, rel=1e-8)


def _hvp_forward_over_reverse(net, v):
    return tg.hvp(loss, (net,), (v,))


def _hvp_reverse_over_reverse(net, v):
    def slope(net):
        gradient = tg.grad(loss)(net)
        return sum((gradient[path] * v[path]).sum() for path in v)

    return tg.grad(slope)(net)


@pytest.mark.parametrize("hvp", [_hvp_forward_over_reverse, _hvp_reverse_over_reverse])
def test_second_derivatives_with_respect_to_a_module_agree_with_differences_of_gradients(hvp):
    net = Net().astype("float64")
    v = _directions(net)
    product = hvp(net, v)
    ahead, behind = (_moved(net, v, step, tg.grad(loss)) for step in (1e-6, -1e-6))
    largest = max(np.abs(product[path].numpy()).max() for path in TRAINED)
    for path in TRAINED:
        difference = (ahead[path].numpy() - behind[path].numpy()) / 2e-6
        np.testing.assert_allclose(product[path].numpy(), difference, atol=1e-7 * largest, err_msg=path)


def test_parameters_that_the_function_itself_lists_are_differentiated_too_at_any_order():
    net = Net().astype("float64")

    def penalty(net):
        return sum((p**4).sum() for p in net.parameters())

    v, values = _directions(net), {path: p.numpy() for path, p in net.named_parameters()}
    product = tg.hvp(penalty, (net,), (v,))
    third = tg.grad(
        lambda net: sum((g * v[path]).sum() for path, g in tg.hvp(penalty, (net,), (v,)).items())
    )(net)  # fmt: skip
    for path, p in values.items():
        np.testing.assert_allclose(product[path].numpy(), 12 * p**2 * v[path], rtol=1e-12, err_msg=path)
        np.testing.assert_allclose(third[path].numpy(), 24 * p * v[path] ** 2, rtol=1e-12, err_msg=path)


def test_a_module_is_as_it_was_after_a_transform():
    net = Net()
    nodes = [p.node for p in net.parameters()]
    tg.hvp(loss, (net,), (_directions(net),))
    with pytest.raises(ValueError, match="matmul"):
        tg.grad(tg.grad(lambda net: net(tg.ones((1, 1))).sum()))(net)
    assert [p.node for p in net.parameters()] == nodes
    assert all(p.grad is None for p in net.parameters())


def _directions(net):
    rng = np.random.default_rng(11)
    return {path: rng.standard_normal(p.shape) for path, p in net.named_parameters()}


def _moved(net, v, step, f):
    """f at parameters moved along v; the module is moved back."""
    before = {path: p.data for path, p in net.named_parameters()}
    try:
        for path, p in net.named_parameters():
            p.data = before[path] + step * v[path]
        return f(net)
    finally:
        for path, p in net.named_parameters():
            p.data = before[path]


def test_state_is_copied_out_and_in():
    net, other = Net(0), Net(1)
    state = net.state_dict()
    assert all(type(a) is np.ndarray for a in state.values())
    state["scale"] = np.array(7.0)
    assert net.scale.item() == 0.5
    other.load_state_dict(state)
    state["encoder/weight"][:] = 0
    for path in TRAINED:
        np.testing.assert_array_equal(other.state_dict()[path], net.state_dict()[path])
    assert other.scale.item() == 7.0
    assert other.scale.dtype == np.float32


def test_loading_reports_everything_that_does_not_fit_and_changes_nothing():
    net = Net()
    before = net.state_dict()
    state = net.state_dict()
    state["encoder/wieght"] = state.pop("encoder/weight")
    state["cells/0/U"] = np.zeros((4, 5))
    state["heads/mean/bias"] = np.zeros(2, complex)
    state["scale"] = np.float32(9.0)
    with pytest.raises(ValueError) as error:
        net.load_state_dict(state)
    assert str(error.value).splitlines() == [
        "Net.load_state_dict changed nothing:",
        "  missing: encoder/weight (3, 4)",
        "  shapes differ: cells/0/U is (4, 4), given (4, 5)",
        "  dtypes differ: heads/mean/bias is float32, given complex128",
        "  unexpected: encoder/wieght (3, 4); nearest: encoder/weight",
    ]
    for path, value in net.state_dict().items():
        np.testing.assert_array_equal(value, before[path])


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_a_copy_is_equal_and_independent(copied):
    net = Net()
    net.cells[1].U = net.cells[0].U
    other = copied(net)
    assert loss(other).item() == loss(net).item()
    assert other.cells[0].U is other.cells[1].U
    assert list(other.parameters_by_path()) == list(net.parameters_by_path())
    for p in other.parameters():
        p.data = p.data + 1
    assert loss(other).item() != loss(net).item()
    assert set(tg.grad(loss)(other)) == set(net.parameters_by_path())


def test_train_and_eval_reach_every_module():
    net = Net()
    assert net.training
    assert net.eval() is net
    assert not any(module.training for module in net.modules())
    assert all(module.training for module in net.train().modules())


def test_a_module_moves_to_a_device_and_back(device):
    net = Net()
    expected = loss(net)
    expected.backward()
    bias = net.encoder.bias.grad.numpy().copy()
    assert net.to(device) is net
    assert {t.device for t in (*net.parameters(), net.scale, net.encoder.bias.grad)} == {device}
    value, gradient = tg.value_and_grad(lambda net: (net(tg.tensor(X, dtype="float32", device=device)) ** 2).sum())(net)
    assert value.device == gradient["encoder/bias"].device == device
    np.testing.assert_allclose(value.numpy(), expected.numpy(), rtol=1e-5)
    np.testing.assert_allclose(gradient["encoder/bias"].numpy(), bias, rtol=1e-4)
    assert type(net.state_dict()["scale"]) is np.ndarray
    net.load_state_dict(Net(1).state_dict())
    assert net.encoder.weight.device == device
    np.testing.assert_array_equal(net.to("cpu").encoder.weight.numpy(), Net(1).encoder.weight.numpy())


def test_astype_converts_what_is_floating_and_gradients_follow():
    net = Net()
    net.phase = nn.parameter(np.ones(2, np.complex64))
    net.count = tg.tensor(np.arange(3))
    loss(net).backward()
    net.astype("float64")
    assert {p.dtype.name for p in net.parameters()} == {"float64", "complex128"}
    assert net.count.dtype == np.int64
    assert net.scale.dtype == np.float64
    assert all(p.grad is None for p in net.parameters())
    assert tg.grad(loss)(net)["cells/0/U"].dtype == np.float64
    with pytest.raises(TypeError, match="floating dtype"):
        net.astype("int32")


def test_repr_is_a_line_for_a_layer_and_a_table_for_a_tree():
    net = Net()
    assert repr(net.encoder) == "Linear(weight (3, 4), bias (4,))"
    assert repr(nn.Dropout(0.25)) == "Dropout(p=0.25, calls ())"
    lines = repr(net).splitlines()
    assert lines[0] == "Net"
    assert lines[1].split() == ["path", "shape", "dtype", "count"]
    assert lines[2].split() == ["encoder/weight", "(3,", "4)", "float32", "12"]
    assert next(line for line in lines if "scale" in line).split() == ["scale", "()", "float32", "buffer"]
    assert lines[-1].split() == ["8", "parameters", str(12 + 4 + 2 * (16 + 4) + 8 + 2)]
    assert len({len(line) for line in lines[1:]}) == 1
