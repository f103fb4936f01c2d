"""Graph: a view of nodes, edges, tags and cuts; scopes are what they were when the node was made."""

import json
import threading

import numpy as np

import tinygrad_rnn as tg


def loop(T=3):
    W = tg.tensor(np.eye(2), requires_grad=True, name="W")
    h = tg.tensor(np.ones((1, 2)))
    for _ in tg.steps(T):
        with tg.scope("cell", "Elman", layer=0):
            h = tg.tanh(h @ W)
    return W, h.sum()


def test_nodes_know_their_step_cell_and_layer():
    _, loss = loop()
    tanhs = [n for n in tg.Graph(loss).nodes if n.op.name == "tanh"]
    assert [n.scope.find("time").index for n in tanhs] == [0, 1, 2]
    assert all(n.scope.find("cell").attributes == {"layer": 0} for n in tanhs)
    assert str(tanhs[2].scope) == "t=2/Elman"


def test_a_shared_parameter_is_one_node_with_an_edge_for_each_use():
    W, loss = loop()
    graph = tg.Graph(loss)
    assert graph.leaves == [W.node]
    assert sum(edge.parent is W.node for edge in graph.edges) == 3


def test_both_arguments_of_a_product_with_itself_are_edges():
    x = tg.tensor(2.0, requires_grad=True)
    assert [(e.argument, e.parent is x.node) for e in tg.Graph(x * x).edges] == [(0, True), (1, True)]


def test_dependents_follow_the_data():
    W, loss = loop()
    graph = tg.Graph(loss)
    last = [n for n in graph.nodes if n.op.name == "tanh"][-1]
    assert graph.dependents([last]) == {last, loss.node}
    assert graph.dependents([W.node]) == set(graph.nodes)


def test_a_graph_prints_and_turns_into_plain_data():
    _, loss = loop(1)
    assert str(tg.Graph(loss)).splitlines()[0] == "%0 leaf W (2, 2) float64"
    assert "%1 matmul (1, 2) float64 ← const %0  [t=0/Elman]" in str(tg.Graph(loss))
    data = json.loads(json.dumps(tg.Graph(loss).to_json()))
    assert data["nodes"][0]["name"] == "W" and data["nodes"][1]["inputs"] == [None, 0]
    assert data["nodes"][1]["scope"][1] == {"kind": "cell", "name": "Elman", "index": None, "layer": 0}


def test_scopes_and_recording_belong_to_a_thread():
    seen = []

    def other():
        x = tg.tensor(1.0, requires_grad=True)
        seen.append((x * 2).node)

    with tg.scope("module", "here"), tg.no_grad():
        worker = threading.Thread(target=other)
        worker.start()
        worker.join()
    assert seen[0] is not None and seen[0].scope is None


def test_a_scope_is_left_when_the_body_raises_or_breaks_off():
    for _ in tg.steps(5):
        break
    try:
        with tg.scope("module", "a"):
            raise KeyError
    except KeyError:
        assert tg.Graph(tg.tensor(1.0, requires_grad=True) * 2).outputs[0].scope is None


def test_scopes_end_with_their_loops_also_when_these_interleave():
    x = tg.tensor(1.0, requires_grad=True)
    for _ in zip(tg.steps(2), tg.steps(3), strict=False):
        assert str((x * 2).node.scope).startswith("t=")
    assert (x * 2).node.scope is None
    left_open = iter(tg.steps(3))
    next(left_open)
    with tg.scope("module", "a"):
        del left_open
    assert (x * 2).node.scope is None
