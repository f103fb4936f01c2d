"""The parts of complex numbers; complex arithmetic is with elementwise.py."""

from __future__ import annotations

import tinygrad_rnn as tg
from tests.tinygrad_rnn.cases import Case, complex_normal, normal, torch

Z = (3, 4)

CASES = [
    Case("real", tg.real, complex_normal(Z), lambda z: z.real, elementwise=True),
    Case("real", tg.real, normal(Z), lambda x: x, "real", elementwise=True),
    Case("imag", tg.imag, complex_normal(Z), lambda z: z.imag, elementwise=True),
    Case("imag", tg.imag, normal(Z), lambda x: 0 * x, "real", elementwise=True),
    Case("conj", tg.conj, complex_normal(Z), lambda z: z.conj(), elementwise=True),
    Case("conj", tg.conj, normal(Z), lambda x: x, "real", elementwise=True),
    Case("angle", tg.angle, complex_normal(Z), lambda z: torch.angle(z), elementwise=True),
    Case("angle", tg.angle, normal(Z), lambda x: torch.angle(x), "real", elementwise=True),
    Case("angle", lambda z: tg.exp(1j * tg.angle(z)) * tg.abs(z), complex_normal(Z), lambda z: 1 * z, "and-back",
         elementwise=True),
    Case("sum", lambda z: tg.sum(z, axis=1), complex_normal(Z), lambda z: z.sum(1), "complex"),
    Case("mean", lambda z: tg.mean(z, axis=0), complex_normal(Z), lambda z: z.mean(0), "complex"),
    Case("var", lambda z: tg.var(z, axis=0), complex_normal(Z), lambda z: torch.var(z, 0, correction=0), "complex"),
    Case("prod", tg.prod, complex_normal(Z), lambda z: z.prod(), "complex"),
    Case("norm", lambda z: tg.norm(z, axis=1), complex_normal(Z), lambda z: torch.linalg.norm(z, dim=1), "complex"),
    Case("cumsum", lambda z: tg.cumsum(z, axis=1), complex_normal(Z), lambda z: z.cumsum(1), "complex"),
    Case("matmul", tg.matmul, complex_normal((2, 3), (3, 4)), lambda a, b: a @ b, "complex"),
]  # fmt: skip
