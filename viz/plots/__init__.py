"""Pictures of numbers, through matplotlib: one a file.

    norms, lag, jacobians      what gradients do along time
    clip, attention            what was done to them; what a decoder looked at
    gates, units, connect      what the parts of a net do over a text
"""

from .attention import attention
from .clipping import clip
from .connect import connect
from .figure import Plot
from .gates import gates
from .lag import lag
from .norms import norms
from .search import PREDICATES, Found, search_units
from .spectra import jacobians
from .units import units

__all__ = [
    "PREDICATES", "Found", "Plot", "attention", "clip", "connect", "gates", "jacobians", "lag", "norms",
    "search_units", "units",
]  # fmt: skip
