"""Learning through time: every way to get a gradient out of a recurrence, over functions and containers.

    problem, strategy     a loss added up along time; ways to find its gradient, by name
    full                  backpropagation through time, whole or in chunks
    checkpointed          the same from less memory: what was not kept is run again
    segment, window       some steps and the messages through them; a window of them that slides
    randomized            truncated at random places, without bias
    adaptive, cuts        truncated as late as an accuracy asks for; what each cut takes away
    linearised, rtrl      one step's derivatives as matrices; sensitivities that travel forward
    messages              both kinds of messages of a run, and the gradient as it looks from each edge where they meet
    online, directional   forward methods; along a few random directions
    uoro, kronecker       random products of two factors in place of the sensitivities, right on average
    structure             what reaches what within a step, whatever the numbers
    sparse, local         sensitivities of which only some entries are kept
    diagnostics, gates    where a gradient comes from and whether it fades; how often gates are saturated
    compare               estimators beside the exact gradient: cost, memory, bias, variance, cosine
    view                  all strategies in one table: where they look, what they keep, what that costs
    taming                the messages between steps, and a penalty on what shrinks or stretches them
    truncated             chunks of a long sequence, for a training loop of one's own
"""

from . import view
from .adaptive import Adaptive, Choice, truncation_length
from .checkpointed import Budget, Segments, Sqrt
from .compare import Comparison, Interval, Measured, compare
from .cuts import Cuts, cuts
from .diagnostics import (
    Named,
    Norms,
    jacobian_products,
    jacobians,
    lag_matrix,
    lyapunov_exponents,
    message_norms,
    parameter_names,
    singular_values,
)
from .directional import Directional
from .full import Chunks, Full
from .gates import Saturation, activations, saturation
from .kronecker import KFRTRL
from .linearised import Linearised, Vectors
from .local import RFLO, EProp
from .messages import Meeting, Messages, messages, recurrent_parameters
from .problem import Problem, Update
from .randomized import ARTBP
from .rtrl import RTRL
from .sparse import SnAp
from .strategy import Gradient, Strategy, gradient, strategies, strategy
from .taming import StateMessages, state_messages, vanishing_penalty
from .truncated import truncated
from .uoro import UORO
from .window import Window

__all__ = [
    "ARTBP", "KFRTRL", "RFLO", "RTRL", "UORO", "Adaptive", "Budget", "Choice", "Chunks", "Comparison", "Cuts",
    "Directional", "EProp", "Full", "Gradient", "Interval", "Linearised", "Measured", "Meeting", "Messages", "Named",
    "Norms", "Problem", "Saturation", "Segments", "SnAp", "Sqrt", "StateMessages", "Strategy", "Update", "Vectors",
    "Window", "activations", "compare", "cuts", "gradient", "jacobian_products", "jacobians", "lag_matrix",
    "lyapunov_exponents", "message_norms", "messages", "parameter_names", "recurrent_parameters", "saturation",
    "singular_values", "state_messages", "strategies", "strategy", "truncated", "truncation_length",
    "vanishing_penalty", "view",
]  # fmt: skip
