"""What tasks share whose sequences are drawn anew for every step: nothing is seen twice, and memory is all they ask."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import tinygrad_rnn as tg
from tinygrad_rnn.bptt import Problem
from zoo import registry
from zoo.errors import UserError
from zoo.tasks.task import Task, stepwise

HELD_OUT = 1000  # sequences to measure with


class Generated(Task):
    """One recurrent layer and a linear map, on sequences that a subclass draws."""

    unit = "steps"
    kind: ClassVar[str]  # what the sequences are
    shape: ClassVar[tuple[int, int]]  # features that a step reads, numbers that the model says
    topology: ClassVar[Any]  # Synced or SequenceToLabel
    loss: ClassVar[Callable[..., tg.Tensor]]
    short: ClassVar[int]  # the length of the sequence that is drawn
    shortest: ClassVar[int]

    model: Any

    def __init__(self, options: Mapping[str, Any], *, seed: int, device: str) -> None:
        if options["length"] < self.shortest:
            raise UserError(f"{self.name} needs a --length of at least {self.shortest}, not {options['length']}")
        self.options, self.seed, self.device = options, seed, device
        self.data = {"source": f"{self.kind}, drawn anew for every step", "length": options["length"]}
        self.model = self.made(options, seed).to(device)
        self.held_out = self.draw(self._rng("held out"), options["length"], HELD_OUT)

    @classmethod
    def made(cls, options: Mapping[str, Any], seed: int) -> Any:
        """The model, untrained."""
        rng, (features, outputs) = tg.random.Generator(seed), cls.shape
        kind: Any = registry.get(options["cell"])
        return cls.topology(kind(features, options["hidden"], rng=rng.fork("cell")), outputs, rng=rng)

    @classmethod
    def trained(cls, config: Mapping[str, Any], weights: Mapping[str, Any], device: str) -> Any:
        """The model of a run."""
        model = cls.made(config["options"], config["seed"])
        model.load_state_dict(weights)
        return model.to(device)

    @abstractmethod
    def draw(self, rng: tg.random.Generator, length: int, batch: int) -> tuple[tg.Tensor, tg.Tensor]:
        """What the model reads, (T, B, I), and what it should say."""

    def facts(self) -> dict[str, str]:
        o = self.options
        size = sum(p.size for p in self.model.parameters())
        return {
            "model": f"{o['cell']} of {o['hidden']}: {size:,} parameters",
            "data": f"{self.kind}, --length {o['length']}, drawn anew for every step; {HELD_OUT} held out",
            "training": f"{o['steps']} steps of {o['batch']} sequences, --bptt {o['bptt']}",
        }

    def problem(self, step: int, carry: Any) -> Problem:
        return self._problem(*self.draw(self._rng("step", step), self.options["length"], self.options["batch"]))

    def example(self) -> tg.Tensor:
        return stepwise(self._problem(*self.shown()))

    def shown(self) -> tuple[tg.Tensor, tg.Tensor]:
        """The sequence of the example."""
        return self.draw(self._rng("example"), self.short, 1)

    def answers(self) -> Any:
        """What the model says of the held-out sequences."""
        with tg.no_grad():
            return self.model(self.held_out[0])

    def evaluate(self) -> float:
        return type(self).loss(self.answers(), self.held_out[1]).item()

    def _problem(self, xs: tg.Tensor, targets: tg.Tensor) -> Problem:
        return self.model.problem(xs, targets, loss=type(self).loss)

    def _rng(self, *names: str | int) -> tg.random.Generator:
        return tg.random.Generator(self.seed).fork(self.name, *names)
