"""One way to choose how a gradient is found: by name, as in ``"full"``, ``"chunks:35"`` or ``"window:20,50"``."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, TypeVar

from .. import tree
from ..backend import namespace
from ..random import Generator
from ..tensor import Tensor
from .problem import Problem, Update

__all__ = ["Gradient", "Strategy", "gradient", "register", "strategies", "strategy", "usage"]


@dataclass(frozen=True)
class Strategy(ABC):
    """A way to find gradients of Problems; its fields are its options, in the order in which they follow its name.

    ``exact``: it finds the gradient of the whole loss; ``unbiased``: it does so on average over the random numbers.
    """

    name: ClassVar[str]
    paper: ClassVar[str]
    exact: ClassVar[bool] = False
    unbiased: ClassVar[bool] = False

    @abstractmethod
    def updates(self, problem: Problem, *, memory: Any = None, rng: Generator | None = None) -> Iterator[Update]:
        """Run along the problem; whenever a part of the gradient is complete, hand it out.

        Between two updates the parameters may change. ``memory`` is that of an earlier run's last update.
        """

    def check(self, problem: Problem) -> None:  # noqa: B027 - most can do any problem
        """Raise ValueError when the problem cannot be done in this way, before anything is computed."""

    def __str__(self) -> str:
        options = ",".join(_shown(value) for value in dataclasses.astuple(self))
        return f"{self.name}:{options}" if options else self.name


S = TypeVar("S", bound=type[Strategy])
_strategies: dict[str, type[Strategy]] = {}


def register(name: str, *, paper: str) -> Callable[[S], S]:
    """Make a strategy known by a name, with where it comes from."""

    def add(kind: S) -> S:
        kind.name, kind.paper = name, paper
        _strategies[name] = kind
        return kind

    return add


def strategies() -> dict[str, type[Strategy]]:
    """All strategies by name."""
    return dict(_strategies)


def strategy(text: str | Strategy) -> Strategy:
    """The strategy that a text such as ``"window:20,50"`` names. Raises ValueError for one that there is not.

    >>> strategy("chunks:35")
    Chunks(length=35)
    """
    if isinstance(text, Strategy):
        return text
    name, _, rest = text.partition(":")
    kind = _strategies.get(name)
    if kind is None:
        raise ValueError(f"there is no strategy {name!r}; there are {', '.join(_strategies)}")
    fields = dataclasses.fields(kind)
    given = [part.strip() for part in rest.split(",")] if rest else []
    required = [f for f in fields if f.default is dataclasses.MISSING]
    if not len(required) <= len(given) <= len(fields):
        raise ValueError(f"strategy {text!r}: {name} is written {usage(kind)}")
    try:
        return kind(*[_read(f.type, part) for f, part in zip(fields, given, strict=False)])
    except ValueError as error:
        raise ValueError(f"strategy {text!r}: {error}") from None


def usage(kind: type[Strategy]) -> str:
    """How a strategy is written: ``window:EVERY,BACK``; options that may be left out in brackets."""
    fields = dataclasses.fields(kind)
    if not fields:
        return kind.name
    first, *rest = [(f.name.upper(), f.default is not dataclasses.MISSING) for f in fields]
    shown = first[0] + "".join(f"[,{name}]" if optional else f",{name}" for name, optional in rest)
    return f"{kind.name}[:{shown}]" if first[1] else f"{kind.name}:{shown}"


def _read(kind: Any, text: str) -> Any:
    kinds: dict[Any, Callable[[str], Any]] = {"int": int, "float": float, "str": str}
    try:
        return kinds[str(kind)](text)
    except ValueError:
        raise ValueError(f"{text!r} is no {kind}") from None


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


class Gradient(NamedTuple):
    """A loss, its gradients (or an estimate of them), and with what to go on."""

    loss: float
    gradients: Any
    carry: Any
    memory: Any


def gradient(
    problem: Problem, strategy: str | Strategy = "full", *, memory: Any = None, rng: Generator | None = None
) -> Gradient:
    """The gradient of the problem's loss, ``∂L/∂θ``, or an estimate of it, with parameters that stay as they are.

    Gradients are built as ``tg.grad`` gives them. ``strategy``: one of ``strategies()``, by name with its options, or
    an object. ``rng``: where random strategies draw from. Raises ValueError for a strategy that there is not, and for
    a problem that it cannot do.

    >>> import tinygrad_rnn as tg
    >>> w = tg.tensor(0.5, requires_grad=True)
    >>> def step(w, h, x):
    ...     h = w * h + x
    ...     return h, h * h
    >>> gradient(Problem(w, step, tg.tensor(0.0), tg.tensor([1.0, 1.0])), "rtrl").gradients
    tensor(3.)
    """
    if not len(problem):
        raise ValueError("gradient: the problem has no steps")
    way = _named(strategy)
    way.check(problem)
    loss, total, last = 0.0, None, None
    for last in way.updates(problem, memory=memory, rng=rng or Generator(0)):
        loss += last.loss
        total = last.gradients if total is None else _sum(total, last.gradients)
    assert last is not None  # a way to find a gradient hands one out at the last step at least
    return Gradient(loss, total, last.carry, last.memory)


_named = strategy  # ``gradient`` has a parameter of that name


def _sum(a: Any, b: Any) -> Any:
    values, structure = tree.flatten(a)
    others = tree.leaves(b)
    sums = [namespace(x.data).asarray(x.data + y.data) for x, y in zip(values, others, strict=True)]  # 0-d: a scalar
    return tree.unflatten(structure, [Tensor.of(total, None) for total in sums])
