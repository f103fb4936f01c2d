"""Nested containers: lists, tuples, named tuples, dicts and modules, taken apart into leaves and put together again.

Whatever has a method ``parameters_by_path()`` (a Module) is a container of its trainable Tensors; put together from
new leaves it becomes a dict keyed by path, which is the shape of a Module's gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["alike", "flatten", "leaves", "map", "parameters", "replace", "unflatten"]


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
    return found, _take_apart(tree, found)


# The walks below are no closures: one that calls itself is a reference cycle, which would keep the leaves alive.


def _take_apart(node: Any, found: list[Any]) -> Structure:
    if node is None:
        return None
    if type(node) in _LEAVES:
        found.append(node)
        return LEAF
    if _is_module(node):
        node = node.parameters_by_path()
    if isinstance(node, dict):
        return {key: _take_apart(value, found) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return _rebuild(node, [_take_apart(value, found) for value in node])
    if len(_LEAVES) < 64 and not isinstance(node, type):
        _LEAVES.add(type(node))
    found.append(node)
    return LEAF


_LEAVES: set[type] = set()  # types that were no container: what each is need be asked once


def _put_together(node: Structure, values: Iterator[Any]) -> Any:
    if node is LEAF:
        return next(values)
    if isinstance(node, dict):
        return {key: _put_together(value, values) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return _rebuild(node, [_put_together(value, values) for value in node])
    return node


def _is_module(node: Any) -> bool:
    return hasattr(node, "parameters_by_path") and not isinstance(node, type)


def _rebuild(like: Any, values: list[Any]) -> Any:
    return type(like)(*values) if hasattr(like, "_fields") else type(like)(values)


def unflatten(structure: Structure, values: Any) -> Any:
    """Put leaves back: the inverse of ``flatten``. Raises ValueError when there are too few or too many.

    >>> unflatten(flatten({"a": 1, "b": (2, None)})[1], [10, 20])
    {'a': 10, 'b': (20, None)}
    """
    remaining: Iterator[Any] = iter(values)
    try:
        tree = _put_together(structure, remaining)
    except StopIteration:
        raise ValueError(f"too few leaves for {structure}") from None
    if next(remaining, LEAF) is not LEAF:
        raise ValueError(f"too many leaves for {structure}")
    return tree


def replace(tree: Any, values: Any) -> Any:
    """The container with other leaves. Unlike in ``unflatten``, a Module stays itself, and its values are passed over.

    >>> replace([1, {"a": 2}], [10, 20])
    [10, {'a': 20}]
    """
    return _replaced(tree, iter(values))


def _replaced(node: Any, values: Iterator[Any]) -> Any:
    if node is None:
        return None
    if _is_module(node):
        for _ in node.parameters_by_path():
            next(values)
        return node
    if isinstance(node, dict):
        return {key: _replaced(value, values) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return _rebuild(node, [_replaced(value, values) for value in node])
    return next(values)


def alike(a: Structure, b: Structure) -> bool:
    """Whether two structures are built the same way, from the same types with the same keys in the same order.

    >>> alike(flatten({"a": 1, "b": 2})[1], flatten({"b": 2, "a": 1})[1])
    False
    """
    if a is b:
        return True
    if type(a).__name__ != type(b).__name__ or not isinstance(a, dict | list | tuple) or len(a) != len(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(alike(x, y) for x, y in zip(a.values(), b.values()))
    return getattr(a, "_fields", None) == getattr(b, "_fields", None) and all(alike(x, y) for x, y in zip(a, b))


def leaves(tree: Any) -> list[Any]:
    """The leaves of a container, left to right."""
    return flatten(tree)[0]


def parameters(tree: Any) -> list[Any]:
    """The leaves that belong to Modules in the container."""
    if _is_module(tree):
        return list(tree.parameters_by_path().values())
    if isinstance(tree, dict | list | tuple):
        return [p for part in (tree.values() if isinstance(tree, dict) else tree) for p in parameters(part)]
    return []


def map(function: Callable[..., Any], tree: Any, *others: Any) -> Any:
    """Apply ``function`` to the leaves of containers of equal structure.

    >>> map(lambda a, b: a + b, (1, [2]), (10, [20]))
    (11, [22])
    """
    first, structure = flatten(tree)
    columns = [first]
    for other in others:
        values, its = flatten(other)
        if not alike(its, structure):
            raise ValueError(f"containers differ: {structure} and {its}")
        columns.append(values)
    return unflatten(structure, [function(*row) for row in zip(*columns, strict=True)])
