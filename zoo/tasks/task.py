"""What a task is to the training loop: options, data, a model, losses along time, a metric, baselines."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from tinygrad_rnn import Tensor, nn
from tinygrad_rnn.bptt import Problem
from tinygrad_rnn.optim import Adam
from tinygrad_rnn.optim.optimizer import Optimizer
from zoo.errors import UserError


@dataclass(frozen=True)
class Metric:
    """The figure a task is judged by.

    `held_out` tells whether it is measured on data the model did not learn from; `worth` is the loss that one of it
    stands for (ln 2, for bits from nats), None where it does not follow from the loss, as a share of right answers.
    """

    name: str
    lower_is_better: bool = True
    held_out: bool = True
    worth: float | None = 1.0
    digits: int = 3

    def of(self, loss: float) -> float | None:
        """The metric of data with this loss, where it follows from that."""
        return None if self.worth is None else loss / self.worth

    def show(self, value: float) -> str:
        return f"{value:.{self.digits}f}"

    def rank(self, value: float) -> float:
        """Sorts the best first."""
        return value if self.lower_is_better else -value


@dataclass(frozen=True)
class Score:
    """Who reached which value of the metric."""

    name: str
    value: float


class Task(ABC):
    """A sequence problem with data that is there at once, ready to train.

    `defaults` names the options that the task takes, with their values; `presets` holds what --quick and --full change.
    A task is made from a complete set of options, and everything random in it comes from `seed`.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    metric: ClassVar[Metric]
    unit: ClassVar[str]
    defaults: ClassVar[Mapping[str, Any]]
    presets: ClassVar[Mapping[str, Mapping[str, Any]]]
    writes: ClassVar[Mapping[str, Any]] = {}  # the options of `sample` that the task takes besides a prompt
    levels: ClassVar[tuple[str, ...]] = ("cell",)  # how closely its example is drawn: "cell", "op"

    options: Mapping[str, Any]
    seed: int
    device: str
    model: nn.Module
    data: Mapping[str, Any]  # what config.json keeps of the data: enough to recognise them, and to sample without them

    @abstractmethod
    def __init__(self, options: Mapping[str, Any], *, seed: int, device: str) -> None: ...

    @classmethod
    def resolve(cls, given: Mapping[str, Any], preset: str | None = None) -> dict[str, Any]:
        """All options: the task's defaults, changed by a preset, changed by what was given."""
        if foreign := [name for name in given if name not in cls.defaults]:
            takes = ", ".join(f"--{name}" for name in cls.defaults)
            raise UserError(f"{cls.name} takes no --{foreign[0]}; its options are {takes}")
        return {**cls.defaults, **(cls.presets[preset] if preset else {}), **given}

    @abstractmethod
    def facts(self) -> dict[str, str]:
        """The model and the data in words, for the person about to wait."""

    def begin(self) -> Any:
        """The carry to begin with, Tensors in nested containers, where a step goes on from the one before."""
        return ()

    def goes_on(self, step: int) -> bool:
        """Whether a step of the training reads on where the one before it ended; if not, it begins anew."""
        return False

    @abstractmethod
    def problem(self, step: int, carry: Any) -> Problem:
        """The data of a step of the training, as a loss along time from a carry: the last step's, or `begin()`.

        Depends on the step, the carry and the parameters alone, however often it is asked for.
        """

    @abstractmethod
    def evaluate(self) -> float:
        """The metric of the model as it is now, on data it does not learn from."""

    def optimizer(self) -> Optimizer:
        """What follows the gradients; its learning rate is the loop's."""
        return Adam(self.model, betas=(0.9, 0.95))  # a short run: gradients of 20 steps, not of 1000

    def verdict(self) -> str:
        """How the model does by the criterion of the paper that the task is from; nothing where it has none."""
        return ""

    @abstractmethod
    def baselines(self) -> list[Score]:
        """What can be reached without a recurrent net."""

    @abstractmethod
    def sample(self) -> tuple[str, str]:
        """A caption, and something the model made that a person can read."""

    @abstractmethod
    def example(self) -> Tensor:
        """The loss of a few steps with a batch of one: small enough to draw with all its messages."""

    def captions(self) -> list[str]:
        """What each step of the example reads, to be written under it; nothing unless a task says."""
        return []

    @classmethod
    @abstractmethod
    def generate(
        cls, config: Mapping[str, Any], weights: Mapping[str, Any], *, prompt: str | None, device: str, **how: Any
    ) -> str:
        """What a trained run answers to a prompt; `how`, by the options in `writes`."""


def stepwise(problem: Problem) -> Tensor:
    """The loss of a problem, computed step by step: every op is a node of its own, to be drawn."""
    return replace(problem, segment=None).run(problem.parameters, problem.carry, 0, len(problem))[1]
