"""Learning through time: every way to get a gradient out of a recurrence, over functions and containers.

    problem, strategy     a loss added up along time; ways to find its gradient, by name
    full                  backpropagation through time, whole or in chunks
    linearised, rtrl      one step's derivatives as matrices; sensitivities that travel forward
    online, uoro          what takes their place: smaller, and right on average or nearly
    truncated             chunks of a long sequence, for a training loop of one's own
"""

from .full import Chunks, Full
from .linearised import Linearised, Vectors
from .problem import Problem, Update
from .rtrl import RTRL
from .strategy import Gradient, Strategy, gradient, strategies, strategy
from .truncated import truncated
from .uoro import UORO

__all__ = [
    "RTRL", "UORO", "Chunks", "Full", "Gradient", "Linearised", "Problem", "Strategy", "Update", "Vectors", "gradient",
    "strategies", "strategy", "truncated",
]  # fmt: skip
