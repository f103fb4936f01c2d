"""Neural-network building blocks: modules, layers and initial values."""

from . import init
from .layers import Dropout, Embedding, LayerNorm, Linear, RMSNorm
from .module import Module, parameter

__all__ = ["Module", "parameter", "Linear", "Embedding", "LayerNorm", "RMSNorm", "Dropout", "init"]
