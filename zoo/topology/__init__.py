"""How cells are put together: along time, on top of each other, in both directions.

All share one protocol: ``layer(xs, state=None, lengths=None, *, all_states=False) -> (ys, state)`` with xs (T, B, I)
and ys (T, B, O), ``layer.init_state(batch_size)``, ``layer.step(x, state)``, ``input_size`` and ``output_size``.
"""

from zoo.topology.bidirectional import Bidirectional
from zoo.topology.stack import Stacked
from zoo.topology.unroll import RNN

__all__ = ["RNN", "Bidirectional", "Stacked"]
