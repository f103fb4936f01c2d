"""The cells, one family a file; importing this package fills the registry."""

from zoo.cells.elman import ElmanRNN, IndRNN
from zoo.cells.gru import GRU, GRUResetAfter
from zoo.cells.linear import SRU, MinGRU
from zoo.cells.lstm import LSTM, LayerNormLSTM, PeepholeLSTM
from zoo.cells.matrix_memory import MLSTM, FastWeights
from zoo.cells.minimal import MGU
from zoo.cells.oscillator import CoRNN

__all__ = ["ElmanRNN", "IndRNN"]
__all__ += ["GRU", "GRUResetAfter", "MGU"]
__all__ += ["LSTM", "PeepholeLSTM", "LayerNormLSTM"]
__all__ += ["MinGRU", "SRU"]
__all__ += ["CoRNN"]
__all__ += ["FastWeights", "MLSTM"]
