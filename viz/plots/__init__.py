"""Pictures of numbers, through matplotlib: one a file.

    norms, lag, jacobians      what gradients do along time
    clip, attention            what was done to them; what a decoder looked at
    gates                      what the parts of a net do over a text
"""

from .attention import attention
from .clipping import clip
from .figure import Plot
from .gates import gates
from .lag import lag
from .norms import norms
from .spectra import jacobians

__all__ = ["Plot", "attention", "clip", "gates", "jacobians", "lag", "norms"]
