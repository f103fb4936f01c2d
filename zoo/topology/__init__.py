"""How cells are put together: along time, on top of each other, in both directions; and what is learned with them.

Layers share one protocol: ``layer(xs, state=None, lengths=None, *, all_states=False) -> (ys, state)`` with xs (T, B, I)
and ys (T, B, O), ``layer.init_state(batch_size)``, ``layer.step(x, state)``, ``input_size`` and ``output_size``.

    unroll, stack, bidirectional    layers: RNN, Stacked, Bidirectional
    synced                          a label at every step
    to_label                        a sequence → one label
    from_vector, feedback           one vector → a sequence; what a decoder reads of its own past
    encoder_decoder                 a sequence → a sequence (attention; driven: cells that hear a context)
    series                          what they share: valid rows, labels that count
    examples                        a small problem of each, for any cell
    messages                        sensitivities by their names: alpha, beta, and zeta, gamma across the hand-over

Models of the second kind give logits, ``model(inputs)``, and a loss along time, ``model.problem(inputs, targets)``, of
which ``tg.bptt.gradient`` finds the gradient in any of its ways.
"""

from zoo.topology import examples
from zoo.topology.bidirectional import Bidirectional
from zoo.topology.encoder_decoder import EncoderDecoder
from zoo.topology.from_vector import VectorToSequence
from zoo.topology.messages import forward_messages
from zoo.topology.stack import Stacked
from zoo.topology.synced import Synced
from zoo.topology.to_label import SequenceToLabel
from zoo.topology.unroll import RNN

__all__ = [
    "RNN", "Bidirectional", "EncoderDecoder", "SequenceToLabel", "Stacked", "Synced", "VectorToSequence", "examples",
    "forward_messages",
]  # fmt: skip
