"""JAX's side: a cell's equations as one compiled program, ``jit(value_and_grad(lax.scan))``."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

import zoo
from zoo.bench.equations import EQUATIONS, Functions
from zoo.bench.measure import Contestant


@cache
def functions() -> Functions:
    """What the equations are written with; XLA fuses them as it likes."""
    import jax
    import jax.numpy as jnp

    def norm(x: Any, gain: Any, bias: Any = 0.0) -> Any:
        return gain * (x - x.mean(-1, keepdims=True)) * jax.lax.rsqrt(x.var(-1, keepdims=True) + 1e-5) + bias

    return Functions(
        tanh=jnp.tanh,
        sigmoid=jax.nn.sigmoid,
        relu=jax.nn.relu,
        exp=jnp.exp,
        log_sigmoid=jax.nn.log_sigmoid,
        maximum=jnp.maximum,
        split=lambda x, sizes: jnp.split(x, np.cumsum(sizes[:-1]), -1),
        linear=lambda x, W, b=0.0: x @ W + b,
        addmm=lambda a, h, U: a + h @ U,
        addcmul=lambda a, b, c: a + b * c,
        lerp=lambda a, b, w: a + w * (b - a),
        norm=norm,
    )


def scan(cell: zoo.Cell, xs: Any, cotangent: Any) -> Contestant | None:
    """The equations in lax.scan; outputs and all gradients from one call."""
    import jax
    import jax.numpy as jnp

    name = type(cell).__name__
    if name not in EQUATIONS:
        return None
    leaves = {path: jnp.asarray(p.numpy()) for path, p in cell.named_parameters()}
    series, g = jnp.asarray(xs), jnp.asarray(cotangent)
    shapes = [(xs.shape[1], *shape) for shape in cell.state_shapes.values()]

    def loss(p: Any, x: Any, g: Any) -> Any:
        inputs, step = EQUATIONS[name](functions(), cell, p, x)
        _, ys = jax.lax.scan(step, tuple(jnp.zeros(shape, x.dtype) for shape in shapes), inputs)
        return jnp.vdot(ys, g), ys

    program = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))

    def arrays(found: Any) -> dict[str, Any]:
        (_, ys), (p, x) = found
        return {key: np.asarray(value) for key, value in {**p, "x": x, "ys": ys}.items()}

    return Contestant(lambda: jax.block_until_ready(program(leaves, series, g)), arrays)
