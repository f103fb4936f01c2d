"""Nested containers: lists, tuples, named tuples, dicts and modules, taken apart into leaves and put together again.

Whatever has a method ``parameters_by_path()`` (a Module) is a container of its trainable Tensors; put together from
new leaves it becomes a dict keyed by path, which is the shape of a Module's gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["flatten", "leaves", "map", "unflatten"]


class Leaf:
    """The place of one leaf in a structure."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "*"


LEAF = Leaf()
Structure = Any  # the container with LEAF in place of every leaf


def flatten(tree: Any) -> tuple[list[Any], Structure]:
    """The leaves, left to right (dicts in insertion order), and the structure that puts them back. None is no leaf.

    >>> flatten({"a": 1, "b": (2, None)})
    ([1, 2], {'a': *, 'b': (*, None)})
    """
    found: list[Any] = []

    def walk(node: Any) -> Structure:
        if node is None:
            return None
        if hasattr(node, "parameters_by_path") and not isinstance(node, type):
            node = node.parameters_by_path()
        if isinstance(node, dict):
            return {key: walk(value) for key, value in node.items()}
        if isinstance(node, list | tuple):
            return _rebuild(node, [walk(value) for value in node])
        found.append(node)
        return LEAF

    structure = walk(tree)
    return found, structure


def _rebuild(like: Any, values: list[Any]) -> Any:
    return type(like)(*values) if hasattr(like, "_fields") else type(like)(values)


def unflatten(structure: Structure, values: Any) -> Any:
    """Put leaves back: the inverse of ``flatten``. Raises ValueError when there are too few or too many.

    >>> unflatten(flatten({"a": 1, "b": (2, None)})[1], [10, 20])
    {'a': 10, 'b': (20, None)}
    """
    remaining: Iterator[Any] = iter(values)
    end = object()

    def build(node: Structure) -> Any:
        if node is LEAF:
            value = next(remaining, end)
            if value is end:
                raise ValueError(f"too few leaves for {structure}")
            return value
        if isinstance(node, dict):
            return {key: build(value) for key, value in node.items()}
        if isinstance(node, list | tuple):
            return _rebuild(node, [build(value) for value in node])
        return node

    tree = build(structure)
    if next(remaining, end) is not end:
        raise ValueError(f"too many leaves for {structure}")
    return tree


def leaves(tree: Any) -> list[Any]:
    """The leaves of a container, left to right."""
    return flatten(tree)[0]


def map(function: Callable[..., Any], tree: Any, *others: Any) -> Any:
    """Apply ``function`` to the leaves of containers of equal structure.

    >>> map(lambda a, b: a + b, (1, [2]), (10, [20]))
    (11, [22])
    """
    first, structure = flatten(tree)
    columns = [first]
    for other in others:
        values, its = flatten(other)
        if repr(its) != repr(structure):
            raise ValueError(f"containers differ: {structure} and {its}")
        columns.append(values)
    return unflatten(structure, [function(*row) for row in zip(*columns, strict=True)])
