"""Devices: what is known, what is there, and what is said when it is not."""

import importlib.util

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import backend


def test_the_array_decides_its_namespace_and_device(device):
    x = backend.to_device(np.arange(3.0), device)
    assert backend.device_of(x) == device
    assert backend.namespace(2.0, x) is not None and backend.namespace(2.0) is np
    np.testing.assert_array_equal(backend.to_host(x), np.arange(3.0))


@pytest.mark.skipif(importlib.util.find_spec("cupy") is not None, reason="CuPy is installed")
def test_cuda_without_cupy_says_what_to_install():
    with pytest.raises(RuntimeError, match=r"needs CuPy.*pip install 'tinygrad-rnn\[cuda13\]'.*device='cpu'"):
        tg.tensor([1.0], device="cuda")
    assert not backend.available("cuda")


@pytest.mark.parametrize("name", ["gpu", "cpu:1", "cuda:x", ""])
def test_an_unknown_device_is_refused_with_the_known_ones(name):
    with pytest.raises(ValueError, match="device"):
        tg.tensor([1.0], device=name)


def test_parameters_are_drawn_on_the_cpu_so_every_device_starts_equal(device):
    a = tg.random.Generator(3).normal((4,), device=device).numpy()
    np.testing.assert_array_equal(a, tg.random.Generator(3).normal((4,)).numpy())
