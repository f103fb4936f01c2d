"""Derivatives of functions: vjp, jvp, grad, and what follows from them. Any order, any nesting.

A function's arguments are *lifted*: each floating leaf of their containers enters the graph as a fresh node. When
someone outside differentiates too, the fresh node is tied to where the value came from, and the derivative is
recorded in turn; so ``grad`` inside ``grad`` needs no flag. The parameters of a Module are lifted in place: every use
counts, also through a closure; of a Tensor only the argument itself does.

One thing does need a flag: an outermost ``grad`` with respect to a leaf is not recorded, or each training step would
pay for it. To add a gradient to a loss whose ``backward()`` follows, say ``grad(f, create_graph=True)``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from . import tree
from .autodiff import OnMessage, conjugate, pull, push, reachable, seed
from .cotangent import cast, handed_out
from .node import Node, local, recording
from .ops.shape import alias, reshape, stack
from .tensor import Tensor, leaf, tensor, zeros_beside

__all__ = ["grad", "hessian", "hvp", "jacobian", "jvp", "value_and_grad", "vjp"]


class Trace:
    """One run of ``f`` on lifted arguments: what every transform below starts from."""

    def __init__(
        self, f: Callable, args: Sequence[Any], argnums: Sequence[int], kwargs: dict, create_graph: bool | None
    ) -> None:
        if any(not -len(args) <= at < len(args) for at in argnums):
            raise IndexError(f"argnums {tuple(argnums)}: the function was called with {len(args)} positional arguments")
        frame = local.frame
        self.create_graph, was_recording = create_graph, frame.recording
        linked = bool(create_graph) or frame.depth > 0
        self.primals: list[Tensor | None] = []  # one per leaf of the chosen arguments; None: not differentiable
        self.structures: list[tuple[Any, int]] = []
        swapped: list[tuple[Tensor, Node | None]] = []
        lifted_args = list(args)
        frame.depth += 1
        try:
            for at in argnums:
                parameters = {id(p) for p in tree.parameters(args[at])}
                values, structure = tree.flatten(args[at])
                self.structures.append((structure, len(values)))
                lifted = []
                for value in values:
                    if id(value) not in parameters:
                        value = _lift(value, linked)
                    elif linked:
                        swapped.append((value, value.node))
                        value.node = tied(value).node
                    lifted.append(value)
                    moves = type(value) is Tensor and value.node is not None
                    self.primals.append(Tensor.of(value.data, value.node) if moves else None)
                lifted_args[at] = tree.replace(args[at], lifted)
            if not any(p is not None for p in self.primals):
                raise TypeError("nothing to differentiate: the arguments hold no floating Tensor, array or number")
            with recording(True):
                self.out = f(*lifted_args, **kwargs)
        finally:
            frame.depth -= 1
            for parameter, node in reversed(swapped):  # a parameter that came twice was swapped twice
                parameter.node = node
        outputs, self.out_structure = tree.flatten(self.out)
        self.outputs = [o if type(o) is Tensor else tensor(o) for o in outputs]
        self.roots = [o.node for o in self.outputs]
        self.record = bool(create_graph)  # whether the derivative is recorded itself:
        if create_graph is None:  # when its graph reaches a leaf that lives and is not its own primal
            own = {p.node for p in self.primals if p is not None}
            leaves = (node for node in reachable(self.roots) if node.op.kind == "leaf" and node not in own)
            self.record = was_recording and any(node.saved[0]() is not None for node in leaves)

    def value(self) -> Any:
        """The output; free of the graph unless someone outside differentiates it."""
        if self.record:
            return self.out
        return tree.unflatten(self.out_structure, [Tensor.of(o.data, None) for o in self.outputs])

    def pullback(self, cotangent: Any = None, *, on_message: OnMessage | None = None) -> tuple[Any, ...]:
        """The gradients of the chosen arguments, one container each."""
        alone = self.out_structure is tree.LEAF  # then a cotangent may be nested lists of numbers
        if cotangent is None and not alone:
            raise TypeError(
                f"the function returned {self.out_structure}: a gradient needs one scalar; return that alone, "
                "with has_aux=True a pair (scalar, anything), or pass a cotangent"
            )
        given, structure = ([cotangent], tree.LEAF) if alone else tree.flatten(cotangent)
        if not tree.alike(structure, self.out_structure):
            raise ValueError(f"the cotangent is built as {structure}, the output as {self.out_structure}")
        record = self._records(given)
        seeds = [seed(o, c, record) for o, c in zip(self.outputs, given, strict=True)]
        wrt = [p.node for p in self.primals if p is not None and p.node is not None]
        found = pull(self.roots, seeds, wrt=wrt, record=record, on_message=on_message)
        taken = {id(s) for s in seeds}
        gradients: list[Any] = []
        for p in self.primals:
            if p is None:
                gradients.append(None)
            elif p.node not in found:
                gradients.append(Tensor.of(zeros_beside(p, p.shape), None))
            else:
                g = conjugate(found[p.node])
                gradients.append(g if record else Tensor.of(handed_out(g, taken), None))
        return self._arrange(gradients)

    def pushforward(self, tangents: Sequence[Any]) -> Any:
        """The tangent of the output, from one container of tangents per chosen argument."""
        moving: dict[Node, Any] = {}
        given = self._tangents(tangents)
        record = self._records(given)
        for p, t in zip(self.primals, given, strict=True):
            if p is None or p.node is None or t is None:
                continue
            t = t if type(t) is Tensor else tensor(t, device=p.device)
            if t.shape != p.shape:
                raise ValueError(f"a tangent has shape {t.shape}, its primal {p.shape}; they must be equal")
            if t.device != p.device:
                raise ValueError(f"a tangent is on {t.device}, its primal on {p.device}; move one with .to(device)")
            if t.dtype != p.dtype:
                t = cast(t, p.dtype)
            moving[p.node] = t if record else t.data
        taken = {id(t) for t in moving.values()}
        results = []
        for o, t in zip(self.outputs, push(self.roots, moving, record=record), strict=True):
            if t is None:
                t = zeros_beside(o, o.shape)
            results.append(t if type(t) is Tensor else Tensor.of(handed_out(t, taken), None))
        return tree.unflatten(self.out_structure, results)

    def _records(self, given: Sequence[Any]) -> bool:
        """Whether this walk is recorded: the derivative is, or someone differentiates what it is applied to."""
        tracked = any(type(g) is Tensor and g.requires_grad for g in given)
        return self.record or (self.create_graph is None and local.frame.recording and tracked)

    def _tangents(self, tangents: Sequence[Any]) -> list[Any]:
        """One tangent per leaf of the primals; None stands for a container that does not move."""
        if len(tangents) != len(self.structures):
            raise ValueError(f"got {len(tangents)} tangents for {len(self.structures)} primals")
        found: list[Any] = []
        for container, (structure, count) in zip(tangents, self.structures, strict=True):
            alone = structure is tree.LEAF  # then a tangent may be nested lists of numbers
            values, its = ([container], structure) if alone else tree.flatten(container)
            if container is not None and not tree.alike(its, structure):
                raise ValueError(f"a tangent is built as {its}, its primal as {structure}")
            found += [None] * count if container is None else values
        return found

    def _arrange(self, values: list[Any]) -> tuple[Any, ...]:
        arranged, start = [], 0
        for structure, count in self.structures:
            arranged.append(tree.unflatten(structure, values[start : start + count]))
            start += count
        return tuple(arranged)


def tied(value: Tensor) -> Tensor:
    """The value under a fresh node, whose parent is the one that it has."""
    with recording(True):
        return alias(value)


def _lift(value: Any, linked: bool) -> Any:
    if type(value) is not Tensor:
        if not hasattr(value, "dtype") and not isinstance(value, float | complex):
            return value  # integers, strings, …: passed on as they are
        value = tensor(value)
    if value.dtype.kind not in "fc":
        return value
    if value.requires_grad and (linked or not value.is_leaf):
        return tied(value)
    fresh = Tensor.of(value.data, None)
    fresh.name = value.name
    fresh.node = leaf(fresh)
    return fresh


def _check_tuple(name: str, primals: Any, tangents: Any) -> None:
    if not isinstance(primals, tuple | list) or not isinstance(tangents, tuple | list):
        raise TypeError(f"{name} takes a tuple of arguments and one of tangents: {name}(f, (x,), (v,))")


def _chosen(argnums: int | Sequence[int]) -> tuple[int, ...]:
    return (argnums,) if isinstance(argnums, int) else tuple(argnums)


def vjp(f: Callable, *primals: Any, create_graph: bool | None = None) -> tuple[Any, Callable[..., tuple[Any, ...]]]:
    """``f(*primals)`` and its pullback: cotangent of the output → tuple of cotangents of the primals, ``v ↦ vᵀ ∂f/∂x``.

    The pullback can be called again, and takes ``on_message=callback`` to watch every edge.

    >>> import tinygrad_rnn as tg
    >>> y, pullback = tg.vjp(tg.sin, tg.tensor(0.0))
    >>> pullback(2.0)
    (tensor(2.),)
    """
    trace = Trace(f, primals, range(len(primals)), {}, create_graph)
    return trace.value(), trace.pullback


def jvp(f: Callable, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
    """``f(*primals)`` and the directional derivative ``∂f/∂x · v`` along the tangents.

    The walk reads recorded nodes, so it needs the memory of a backward pass.

    >>> import tinygrad_rnn as tg
    >>> tg.jvp(lambda x: x * x, (tg.tensor(3.0),), (1.0,))
    (tensor(9.), tensor(6.))
    """
    _check_tuple("jvp", primals, tangents)
    trace = Trace(f, primals, range(len(primals)), {}, None)
    return trace.value(), trace.pushforward(tangents)


def value_and_grad(
    f: Callable,
    argnums: int | Sequence[int] = 0,
    *,
    has_aux: bool = False,
    create_graph: bool | None = None,
    on_message: OnMessage | None = None,
) -> Callable[..., tuple[Any, Any]]:
    """The function that returns ``f(…)``, a scalar, and its gradient with respect to the arguments ``argnums``.

    The gradient has the structure of the argument; that of a Module is a dict keyed by parameter path. With
    ``has_aux`` f returns ``(scalar, anything)``. ``create_graph`` forces the gradient to be recorded (or not); left
    alone, it is when the derivative depends on something outside that requires gradients.

    >>> import tinygrad_rnn as tg
    >>> tg.value_and_grad(lambda p: (p["w"] * p["w"]).sum())({"w": tg.tensor([1.0, 2.0])})
    (tensor(5.), {'w': tensor([2., 4.])})
    """
    chosen = _chosen(argnums)

    def run(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        aux: list[Any] = []

        def scalar(*inner: Any, **named: Any) -> Any:
            out = f(*inner, **named)
            if has_aux:
                if not isinstance(out, tuple) or len(out) != 2:
                    raise TypeError(f"with has_aux=True the function returns a pair (scalar, anything), not {out!r}")
                out, extra = out
                aux.append(extra)
            return out

        trace = Trace(scalar, args, chosen, kwargs, create_graph)
        gradients = trace.pullback(on_message=on_message)
        value = (trace.value(), *aux) if has_aux else trace.value()
        return value, gradients[0] if isinstance(argnums, int) else gradients

    return run


def grad(
    f: Callable,
    argnums: int | Sequence[int] = 0,
    *,
    has_aux: bool = False,
    create_graph: bool | None = None,
    on_message: OnMessage | None = None,
) -> Callable[..., Any]:
    """The function that returns the gradient of the scalar function ``f``; with ``has_aux`` also what f adds.

    >>> import tinygrad_rnn as tg
    >>> tg.grad(tg.grad(lambda x: x**3))(tg.tensor(2.0))
    tensor(12.)
    """
    both = value_and_grad(f, argnums, has_aux=has_aux, create_graph=create_graph, on_message=on_message)

    def run(*args: Any, **kwargs: Any) -> Any:
        value, gradient = both(*args, **kwargs)
        return (gradient, value[1]) if has_aux else gradient

    return run


def hvp(f: Callable, primals: Sequence[Any], tangents: Sequence[Any]) -> Any:
    """The Hessian of the scalar function ``f`` times a vector, ``∂²f/∂x² · v``, forward over reverse.

    One container per primal, alone when there is one. Costs a small multiple of the gradient (Pearlmutter 1994).

    >>> import tinygrad_rnn as tg
    >>> tg.hvp(lambda x: (x**3).sum(), (tg.tensor([1.0, 2.0]),), (tg.tensor([1.0, 1.0]),))
    tensor([ 6., 12.])
    """
    _check_tuple("hvp", primals, tangents)
    gradient = grad(f, tuple(range(len(primals))), create_graph=True)
    _, tangent = jvp(lambda *args: gradient(*args), primals, tangents)
    return tangent[0] if len(primals) == 1 else tangent


def jacobian(f: Callable, argnum: int = 0) -> Callable[..., Tensor]:
    """The function that returns ``∂f/∂x`` for one array in, one array out: shape ``(*out.shape, *x.shape)``.

    One pullback per entry of the output.

    >>> import tinygrad_rnn as tg
    >>> tg.jacobian(lambda x: x * x)(tg.tensor([1.0, 2.0]))
    tensor([[2., 0.],
            [0., 4.]])
    """

    def run(*args: Any) -> Tensor:
        trace = Trace(f, args, (argnum,), {}, None)
        if len(trace.outputs) != 1 or len(trace.primals) != 1:
            raise TypeError("jacobian takes a function of one array that returns one array; use vjp for containers")
        out = trace.outputs[0]
        rows = []
        for i in range(out.size):
            unit = zeros_beside(out, out.size)
            unit[i] = 1
            rows.append(trace.pullback(Tensor.of(unit.reshape(out.shape), None))[0])
        shape = rows[0].shape if rows else tensor(args[argnum]).shape
        if not rows:
            return Tensor.of(zeros_beside(out, out.shape + shape), None)
        return reshape(stack(rows), (*out.shape, *shape))

    return run


def hessian(f: Callable, argnum: int = 0) -> Callable[..., Tensor]:
    """The function that returns ``∂²f/∂x²`` of a scalar function of one array: shape ``(*x.shape, *x.shape)``.

    >>> import tinygrad_rnn as tg
    >>> tg.hessian(lambda x: x[0] * x[0] * x[1])(tg.tensor([1.0, 2.0]))
    tensor([[4., 2.],
            [2., 0.]])
    """
    return jacobian(grad(f, argnum), argnum)
