"""Pictures of recurrent computations: the unrolled graph and the messages of backpropagation through time.

    trace = viz.trace(loss)                 # from a loss, or from a function that computes one
    viz.unroll(trace).save("unrolled.svg")  # also .png, .pdf, .dot; a notebook shows it by itself
    viz.explore(trace).save("run.html")     # step by step in a browser
    viz.norms(problem).save("norms.svg")    # of a tg.bptt.Problem, through matplotlib; also lag, jacobians, gates, …
"""

from .cell import cell
from .compare import compare
from .explorer import Explorer, explore
from .gallery import gallery
from .messages import messages
from .picture import Picture, unroll
from .plots import attention, clip, connect, gates, jacobians, lag, norms, search_units, units
from .record import trace
from .trace import Trace, TraceEdge, TraceNode
from .truncation import truncation

__all__ = ["Explorer", "explore", "Picture", "Trace", "TraceEdge", "TraceNode", "trace", "unroll"]
__all__ += ["cell", "compare", "gallery"]
__all__ += ["attention", "clip", "connect", "gates", "jacobians", "lag", "norms", "search_units", "units"]
__all__ += ["messages", "truncation"]
