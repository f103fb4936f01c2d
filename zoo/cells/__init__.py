"""The cells, one family a file; importing this package fills the registry."""

from zoo.cells.elman import ElmanRNN
from zoo.cells.gru import GRU, GRUResetAfter
from zoo.cells.lstm import LSTM

__all__ = ["ElmanRNN", "GRU", "GRUResetAfter", "LSTM"]
