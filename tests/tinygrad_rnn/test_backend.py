"""Devices: what is known, what is there, and what is said when it is not."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

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
    with pytest.raises(RuntimeError, match=r"needs CuPy.*pip install 'cupy-cuda13x\[ctk\]'.*device='cpu'"):
        tg.tensor([1.0], device="cuda")
    assert not backend.available("cuda")


def test_a_foreign_array_is_named_in_full():
    class Tensor:
        __module__ = "torch"

    with pytest.raises(TypeError, match=r"got torch\.Tensor; wrap it: tg\.tensor\(value\)"):
        tg.tanh(Tensor())


def test_an_array_of_cupys_is_known_at_first_sight(tmp_path):
    (tmp_path / "cupy.py").write_text("import numpy\nclass ndarray:\n    dtype = numpy.dtype('f4')\nasnumpy = None\n")
    code = "import cupy, tinygrad_rnn as tg; x = cupy.ndarray(); assert tg.tensor(x).data is tg.Tensor(x).data is x"
    paths = {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(Path(backend.__file__).parents[1])])}
    subprocess.run([sys.executable, "-c", code], env={**os.environ, **paths}, check=True)


@pytest.mark.parametrize("name", ["gpu", "cpu:1", "cuda:x", ""])
def test_an_unknown_device_is_refused_with_the_known_ones(name):
    with pytest.raises(ValueError, match="device"):
        tg.tensor([1.0], device=name)


def test_parameters_are_drawn_on_the_cpu_so_every_device_starts_equal(device):
    a = tg.random.Generator(3).normal((4,), device=device).numpy()
    np.testing.assert_array_equal(a, tg.random.Generator(3).normal((4,)).numpy())


def test_a_second_gpu_is_chosen_outside():
    with pytest.raises(ValueError, match="one GPU a process; set CUDA_VISIBLE_DEVICES=1 and say 'cuda'"):
        tg.tensor([1.0], device="cuda:1")
