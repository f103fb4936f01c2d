"""Initial values of parameters: ``initialiser(rng, shape, *, …)`` gives a float32 Tensor, not yet trainable.

Shapes are ``(…, inputs, outputs)``, as in ``x @ W``. Gates that share one matrix, ``(inputs, gates · units)``, are
``blocks``: each is drawn as the matrix of its own that it stands for. All initialisers take ``rng`` first, those
that draw nothing too, so that one can stand for another.
"""

from __future__ import annotations

import math

import numpy as np

from ..random import Generator
from ..tensor import Tensor, tensor

__all__ = [
    "chrono",
    "constant",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "identity",
    "lecun_normal",
    "normal",
    "orthogonal",
    "uniform",
    "zeros",
]

Shape = tuple[int, ...]


def uniform(rng: Generator, shape: Shape, *, bound: float) -> Tensor:
    """Spread evenly over [−bound, bound).

    >>> bool((uniform(Generator(0), (100,), bound=0.1) < 0.1).numpy().all())
    True
    """
    return rng.uniform(shape, -bound, bound)


def normal(rng: Generator, shape: Shape, *, std: float = 1.0) -> Tensor:
    """Gaussian of mean 0."""
    return rng.normal(shape, std=std)


def constant(rng: Generator | None, shape: Shape, *, value: float) -> Tensor:
    """The same number everywhere."""
    return tensor(np.full(shape, value, np.float32))


def zeros(rng: Generator | None, shape: Shape) -> Tensor:
    """Nothing but 0: biases."""
    return constant(rng, shape, value=0.0)


def glorot_uniform(rng: Generator, shape: Shape, *, gain: float = 1.0, blocks: int = 1) -> Tensor:
    """U(±gain √(6 / (inputs + outputs))) (Glorot & Bengio 2010).

    >>> glorot_uniform(Generator(0), (20, 30)).shape
    (20, 30)
    """
    return uniform(rng, shape, bound=gain * math.sqrt(6 / sum(_fans(shape, blocks))))


def glorot_normal(rng: Generator, shape: Shape, *, gain: float = 1.0, blocks: int = 1) -> Tensor:
    """N(0, σ), σ = gain √(2 / (inputs + outputs)) (Glorot & Bengio 2010)."""
    return normal(rng, shape, std=gain * math.sqrt(2 / sum(_fans(shape, blocks))))


def he_uniform(rng: Generator, shape: Shape) -> Tensor:
    """U(±√(6 / inputs)), for ReLU (He et al. 2015)."""
    return uniform(rng, shape, bound=math.sqrt(6 / _fans(shape)[0]))


def he_normal(rng: Generator, shape: Shape) -> Tensor:
    """N(0, √(2 / inputs)), for ReLU (He et al. 2015)."""
    return normal(rng, shape, std=math.sqrt(2 / _fans(shape)[0]))


def lecun_normal(rng: Generator, shape: Shape) -> Tensor:
    """N(0, √(1 / inputs)) (LeCun et al. 1998)."""
    return normal(rng, shape, std=math.sqrt(1 / _fans(shape)[0]))


def orthogonal(rng: Generator, shape: Shape, *, gain: float = 1.0, blocks: int = 1) -> Tensor:
    """gain times a matrix with orthonormal rows or columns, whichever are fewer, in each block (Saxe et al. 2014).

    QR of a Gaussian matrix, with the signs that make it uniform over all such matrices (Mezzadri 2007).

    >>> U = orthogonal(Generator(0), (3, 6), blocks=2).numpy()
    >>> bool(np.allclose(U[:, :3] @ U[:, :3].T, np.eye(3), atol=1e-6))
    True
    """
    rows, columns = _matrix(shape, blocks)

    def block() -> np.ndarray:
        drawn = rng.normal((max(rows, columns), min(rows, columns)), dtype="float64").numpy()
        q, r = np.linalg.qr(drawn)
        q = gain * q * np.sign(np.diag(r))
        return q if rows >= columns else q.T

    return tensor(np.concatenate([block() for _ in range(blocks)], axis=1).astype(np.float32))


def identity(rng: Generator | None, shape: Shape, *, gain: float = 1.0, blocks: int = 1) -> Tensor:
    """gain times the identity in each block: an IRNN copies its state at first (Le et al. 2015).

    >>> identity(None, (2, 4), blocks=2)
    tensor([[1., 0., 1., 0.],
            [0., 1., 0., 1.]])
    """
    return tensor(np.tile(gain * np.eye(*_matrix(shape, blocks), dtype=np.float32), blocks))


def chrono(rng: Generator, shape: Shape, *, longest: float) -> Tensor:
    """log U(1, longest − 1): forget-gate biases for memories of 1 to ``longest`` steps (Tallec & Ollivier 2018).

    The bias of the input gate is its negative.

    >>> forget = chrono(Generator(0), (128,), longest=100)
    >>> bool(forget.numpy().min() >= 0 and forget.numpy().max() <= np.log(99))
    True
    """
    if longest < 2:
        raise ValueError(f"chrono: longest={longest} steps is too short; the longest dependency is at least 2 steps")
    return tensor(np.log(rng.uniform(shape, 1.0, longest - 1.0, dtype="float64").numpy()).astype(np.float32))


def _fans(shape: Shape, blocks: int = 1) -> tuple[int, int]:
    """Inputs and outputs of one unit; leading axes are the places of a convolution kernel."""
    if not shape or 0 in shape:
        raise ValueError(f"shape {shape} has no inputs and outputs to scale by")
    if shape[-1] % blocks:
        raise ValueError(f"the last axis of shape {shape} does not split into {blocks} equal blocks")
    places = math.prod(shape[:-2])
    return places * shape[max(-2, -len(shape))], places * (shape[-1] // blocks)


def _matrix(shape: Shape, blocks: int) -> Shape:
    if len(shape) != 2:
        raise ValueError(f"a matrix has two axes; shape {shape} has {len(shape)}")
    return _fans(shape, blocks)
