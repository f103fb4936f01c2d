"""Recurrent cells and what is built from them.

>>> import tinygrad_rnn as tg, zoo
>>> rnn = zoo.Stacked([zoo.LSTM(3, 5), zoo.Bidirectional(zoo.GRU(5, 4), zoo.GRU(5, 4))])
>>> ys, state = rnn(tg.ones((7, 2, 3)), lengths=[7, 4])
>>> ys.shape
(7, 2, 8)
"""

from zoo import cells, layouts
from zoo.cell import Cell
from zoo.cells import *  # noqa: F403
from zoo.initial import chrono
from zoo.registry import get, names, register
from zoo.topology import RNN, Bidirectional, EncoderDecoder, SequenceToLabel, Stacked, Synced, VectorToSequence

__all__ = [
    "Cell", "RNN", "Stacked", "Bidirectional", "Synced", "SequenceToLabel", "VectorToSequence", "EncoderDecoder",
    "get", "names", "register", "layouts", "chrono",
]  # fmt: skip
__all__ += cells.__all__
