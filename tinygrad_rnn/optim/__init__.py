"""Optimisers, limits on gradients and noise on them, and learning-rate schedules."""

from .clip import clip_by_global_norm, clip_by_value, global_norm
from .conjugate_gradient import conjugate_gradient
from .first_order import SGD, Adagrad, Adam, AdamW, RMSprop
from .gauss_newton import GaussNewton
from .hessian_free import HessianFree
from .noise import add_noise
from .optimizer import Optimizer
from .schedule import Plateau, constant, cosine, exponential, step_decay, warmup

__all__ = [
    "Optimizer",
    "SGD",
    "RMSprop",
    "Adagrad",
    "Adam",
    "AdamW",
    "HessianFree",
    "GaussNewton",
    "conjugate_gradient",
    "clip_by_global_norm",
    "clip_by_value",
    "global_norm",
    "add_noise",
    "constant",
    "step_decay",
    "exponential",
    "cosine",
    "warmup",
    "Plateau",
]
