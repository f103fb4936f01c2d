"""Containers come apart and go together again."""

import gc
import weakref
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_rnn import tree


class State(NamedTuple):
    h: object
    c: object


containers = st.recursive(
    st.integers() | st.none(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.builds(State, inner, inner)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(containers)
def test_unflatten_inverts_flatten(container):
    leaves, structure = tree.flatten(container)
    again = tree.unflatten(structure, leaves)
    assert again == container and type(again) is type(container)


def test_named_tuples_stay_named_tuples():
    doubled = tree.map(lambda a: 2 * a, {"s": State(1, [2, None])})
    assert doubled == {"s": State(2, [4, None])} and isinstance(doubled["s"], State)


@pytest.mark.parametrize(("count", "word"), [(1, "few"), (3, "many")])
def test_the_wrong_number_of_leaves_is_refused(count, word):
    with pytest.raises(ValueError, match=f"too {word} leaves"):
        tree.unflatten(tree.flatten((1, 2))[1], range(count))


def test_map_over_containers_that_differ_is_refused():
    with pytest.raises(ValueError, match="containers differ"):
        tree.map(lambda a, b: a, (1, 2), [1, 2])


def test_no_walk_keeps_the_leaves_alive():
    class Leaf:
        pass

    leaf = Leaf()
    gone = weakref.ref(leaf)
    gc.disable()
    try:
        leaves, structure = tree.flatten({"a": [leaf]})
        tree.unflatten(structure, tree.leaves(tree.replace({"a": [0]}, leaves)))
        del leaf, leaves
        assert gone() is None
    finally:
        gc.enable()


class Held:
    """A module as the walks see one."""

    def parameters_by_path(self):
        return {"w": 1, "b": 2}


def test_replace_leaves_modules_as_they_are_and_passes_their_values_over():
    held = Held()
    assert tree.replace((held, [3], None), [10, 20, 30]) == (held, [30], None)
    assert tree.parameters({"x": (held, 5), "y": [held]}) == [1, 2, 1, 2]
