"""The run folder: what one training leaves behind, written so that a kill at any moment loses steps but never the run.

    config.json              what was asked for and what it was asked of; written once, first
    choices.json             how it is computed where there are several ways: the run goes on with these on any machine
    metrics.jsonl            one line a step, appended
    checkpoint.safetensors   parameters, optimiser, carried state and position, in one file: there is no half of it
    model.safetensors        the parameters alone, for whoever loads the model
    report.html, *.svg       the pictures, at the end
"""

from __future__ import annotations

import itertools
import json
import os
import shlex
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from tinygrad_rnn import io
from zoo.errors import UserError

CONFIG, METRICS, CHECKPOINT, MODEL = "config.json", "metrics.jsonl", "checkpoint.safetensors", "model.safetensors"
CHOICES = "choices.json"
KEYS = ("task", "options", "seed", "device", "threads", "data")  # what every config.json has


class Run:
    """One run's folder; made by `Run.create`, found again by `Run.open`."""

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        self.folder, self.config = folder, config
        self._chosen: Mapping[str, str] | None = None  # what choices.json holds, as far as it was written here

    @property
    def resume(self) -> str:
        """The command that goes on with this run."""
        return f"python -m zoo train --resume {shlex.quote(str(self.folder))}"

    @classmethod
    def create(cls, folder: str | Path, config: dict[str, Any]) -> Run:
        """A new run in an empty or new folder; `UserError` when it holds something already."""
        folder = Path(folder)
        if (folder / CONFIG).exists():
            ways = f"go on with it by --resume {shlex.quote(str(folder))}, or choose another --out"
            raise UserError(f"{folder} already holds a run: {ways}")
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UserError(f"{folder} is there already and is not an empty folder: choose another --out")
        existed = folder.exists()
        folder.mkdir(parents=True, exist_ok=existed)
        run = cls(folder, config)
        try:
            run.write(CONFIG, json.dumps(config, indent=2, ensure_ascii=False) + "\n")
        except OSError:
            if not existed:
                folder.rmdir()
            raise
        return run

    @classmethod
    def numbered(cls, parent: str | Path, name: str, config: dict[str, Any]) -> Run:
        """A new run in the first of parent/name-1, parent/name-2, … that is not there yet."""
        number = 1
        while True:
            folder = Path(parent) / f"{name}-{number}"
            if not folder.exists():
                with suppress(FileExistsError):  # another run began at the same moment and took it
                    return cls.create(folder, config)
            number += 1

    @classmethod
    def open(cls, folder: str | Path) -> Run:
        """The run in a folder; `UserError` when there is none or its config cannot be read."""
        path = Path(folder) / CONFIG
        try:
            config = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise UserError(f"{folder} holds no run ({path}: {error.strerror}); zoo train makes one") from error
        except ValueError as error:
            raise UserError(f"{path} is damaged ({error}); start again with another --out") from error
        if missing := [key for key in KEYS if not isinstance(config, dict) or key not in config]:
            raise UserError(f"{path} does not name {', '.join(missing)}; start again with another --out")
        return cls(Path(folder), config)

    def write(self, name: str, text: str) -> Path:
        """A whole text file, replaced in one go."""
        io.atomic_write(self.folder / name, text)
        return self.folder / name

    def append(self, record: Mapping[str, Any]) -> None:
        """One line more in metrics.jsonl; a write that fails takes back what it had written of the line."""
        rest = (json.dumps(record, allow_nan=False) + "\n").encode()
        with (self.folder / METRICS).open("ab", buffering=0) as file:
            size = file.tell()
            try:
                while rest:  # a disk that fills up takes a part first and refuses the next
                    rest = rest[file.write(rest) :]
            except OSError as error:
                file.truncate(size)
                raise OSError(error.errno, error.strerror, str(self.folder / METRICS)) from error

    def records(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl."""
        path = self.folder / METRICS
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []

    def choices(self) -> dict[str, str]:
        """The ways the run is computed in, by question; none before its first step."""
        path = self.folder / CHOICES
        try:
            found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
            if not isinstance(found, dict) or not all(isinstance(way, str) for way in found.values()):
                raise ValueError("it holds no names of ways")
        except ValueError as error:
            raise UserError(f"{path} is damaged ({error}); start again with another --out") from error
        return found

    def choose(self, choices: Mapping[str, str]) -> None:
        """Keep the ways the run is computed in, if there are more than before; written before what depends on them."""
        if self._chosen != choices:
            self.write(CHOICES, json.dumps(choices, indent=2, sort_keys=True) + "\n")
            self._chosen = dict(choices)

    def save(self, checkpoint: Mapping[str, Any]) -> None:
        """Replace the checkpoint, once the metrics of its steps have reached the disk; then the model beside it.

        `checkpoint` is whatever the next step depends on: at least its `step` and the parameters as `model`.
        """
        if (self.folder / METRICS).exists():
            with (self.folder / METRICS).open("ab") as file:
                os.fsync(file.fileno())
        io.save(self.folder / CHECKPOINT, checkpoint)
        io.save(self.folder / MODEL, checkpoint["model"])

    def weights(self) -> dict[str, Any]:
        """The model's parameters as they were last saved; `UserError` before that, and when they are damaged."""
        try:
            return io.load(self.folder / MODEL)
        except FileNotFoundError as error:
            raise UserError(f"{self.folder} has no model yet; train it: {self.resume}") from error
        except ValueError as error:
            raise UserError(str(error)) from error

    def restore(self) -> dict[str, Any] | None:
        """The last checkpoint, None before the first; the metrics are cut back to its step, torn writes removed."""
        for torn in self.folder.glob(".*.tmp"):
            torn.unlink()
        path = self.folder / CHECKPOINT
        try:
            checkpoint = io.load(path) if path.exists() else None
        except ValueError as error:
            raise UserError(f"{error}, or start again with another --out") from error
        self._cut_metrics(checkpoint["step"] if checkpoint else 0)
        return checkpoint

    def _cut_metrics(self, step: int) -> None:
        path = self.folder / METRICS
        if not path.exists():
            return
        lines = path.read_bytes().splitlines(keepends=True)
        os.truncate(path, sum(map(len, itertools.takewhile(lambda line: _up_to(step, line), lines))))


def _up_to(step: int, line: bytes) -> bool:
    """Whether a line of metrics.jsonl is whole and of this step or an earlier one."""
    try:
        return line.endswith(b"\n") and json.loads(line)["step"] <= step
    except ValueError:  # a power cut can leave zeros where the last lines were to be
        return False
