"""The training loop that every task shares: resumable bit for bit, stoppable at any step, ending in a report."""

from __future__ import annotations

import math
import shlex
import signal
import threading
import time
import warnings
from collections.abc import Mapping
from itertools import islice
from types import FrameType
from typing import Any, Literal

import tinygrad_rnn as tg
from tinygrad_rnn.scan.choices import Unavailable, fix, taken
from zoo import console
from zoo.errors import UserError
from zoo.report import Report, loss_curve
from zoo.run import Run
from zoo.tasks.task import Score, Task

EVALUATIONS = 10  # how often a run measures itself on held-out data
CHECKPOINTS = 20  # how often it saves
PICTURES: dict[Literal["cell", "op"], tuple[str, str]] = {
    "cell": ("unrolled.svg", "The trained model unrolled in time, with the messages that go back"),
    "op": ("unrolled-ops.svg", "The same, every op"),
}


def train(task: Task, run: Run) -> None:
    """Train a task's model to its last step, from the run's checkpoint where there is one, and write the report.

    Each step: one batch of the task (a chunk of truncated BPTT), gradients clipped by their global norm, Adam with a
    cosine schedule after a linear warm-up. The ways that a run is computed in are those of its folder. Raises
    KeyboardInterrupt after Ctrl-C or SIGTERM, once everything is saved; `UserError` when the loss is no longer a finite
    number, or when a way that the run began with is not to be had here.
    """
    fix(run.choices())
    try:
        with Patience() as patience:
            _steps(task, run, patience)
        finish(task, run)
    except Unavailable as error:
        raise UserError(f"{run.folder}: {error}") from error


def _steps(task: Task, run: Run, patience: Patience) -> None:
    options, steps = task.options, task.options["steps"]
    peak = options["learning-rate"]
    optimizer = tg.optim.Adam(task.model, lr=peak, betas=(0.9, 0.95))  # a short run: gradients of 20 steps, not of 1000
    rise = min(options["warmup"], steps // 2)
    schedule = tg.optim.cosine(peak, steps=steps - rise)
    schedule = tg.optim.warmup(schedule, rise) if rise else schedule

    step, seconds, carry = 0, 0.0, task.begin()
    if saved := run.restore():
        step, seconds, carry = _restored(saved, task, optimizer, carry, run)
        console.say(f"resuming at step {step} of {steps}")

    def save() -> None:
        run.save({
            "step": step,
            "seconds": seconds,
            "model": task.model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "carry": tg.tree.leaves(carry),
        })  # fmt: skip

    evaluate_every, save_every = _every(steps, EVALUATIONS), _every(steps, CHECKPOINTS)
    shown = {"total": steps, "done": step, "every": evaluate_every, "unit": task.unit}
    with console.Progress(task.metric, **shown) as progress:
        started = time.perf_counter() - seconds
        for batch in islice(task.batches(step, carry), steps - step):
            try:
                loss = _finite(batch.loss.item())
                optimizer.zero_grad()
                batch.loss.backward()
                norm = tg.optim.clip_by_global_norm(task.model, options["clip"])
            except FloatingPointError as error:
                raise UserError(
                    f"step {step + 1}: {error}{_origin(task, step, carry)}; try a --learning-rate below {peak} or a "
                    f"smaller --clip. The last good checkpoint is in {run.folder}"
                ) from error
            optimizer.lr = schedule(step)
            optimizer.step()
            step, carry = step + 1, batch.carry
            held_out = None
            if step == steps or (task.metric.held_out and step % evaluate_every == 0):
                held_out = task.evaluate()
            seconds = time.perf_counter() - started
            record: dict[str, Any] = {
                "step": step, "loss": loss, "metric": batch.metric, "gradient_norm": norm,
                "learning_rate": optimizer.lr, "seconds": round(seconds, 3),
            }  # fmt: skip
            run.choose(taken())
            run.append(record if held_out is None else record | {"evaluated": held_out})
            progress.update(step, loss=loss, metric=batch.metric, tokens=batch.tokens, held_out=held_out)
            if step % save_every == 0 or step == steps or patience.signal:
                save()
            if patience.signal:
                raise KeyboardInterrupt


def _restored(saved: Mapping[str, Any], task: Task, optimizer: Any, carry: Any, run: Run) -> tuple[int, float, Any]:
    """Step, seconds and carry of a checkpoint, whose model and optimiser state are taken over."""
    try:
        task.model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        device = task.model.parameters()[0].device
        arrays = [tg.tensor(array, device=device) for array in saved["carry"]]
        return saved["step"], saved["seconds"], tg.tree.unflatten(tg.tree.flatten(carry)[1], arrays)
    except (ValueError, KeyError) as error:
        raise UserError(f"the checkpoint in {run.folder} does not fit its config.json: {error}") from error


def _finite(loss: float) -> float:
    if not math.isfinite(loss):
        raise FloatingPointError(f"the loss is {loss}")
    return loss


def _origin(task: Task, step: int, carry: Any) -> str:
    """Where the NaN of this step was made: the step once more, watched."""
    try:
        with tg.detect_anomaly():
            next(task.batches(step, carry)).loss.backward()
    except FloatingPointError as error:
        return f" ({error})"
    return ""


def _every(steps: int, times: int) -> int:
    return max(1, math.ceil(steps / times))


class Patience:
    """SIGINT and SIGTERM let the step in progress end: the first is noted in `signal`, a second one interrupts."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Patience:
        if threading.current_thread() is threading.main_thread():  # only there may handlers be set
            self._before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal:
            raise KeyboardInterrupt
        self.signal = number


def finish(task: Task, run: Run) -> None:
    """Say how good the model is, beside the baselines, show a sample, and write the pictures and the report."""
    metric, records = task.metric, run.records()
    model = Score(f"this model ({task.options['cell']})", records[-1]["evaluated"])
    baselines = task.baselines()
    ranked = sorted([model, *baselines], key=lambda score: metric.rank(score.value))
    rows = [[score.name, metric.show(score.value)] for score in ranked]
    console.table(["", metric.name], rows, numbers=1, emphasis=ranked.index(model))
    caption, sample = task.sample()
    console.say(f"{caption}:\n{sample}\n")

    curve = loss_curve(records, metric, baselines)
    run.write("loss.svg", curve)
    figures = [("Loss curve", "loss.svg", curve), *draw(task, run)]
    commands = {"ask it": f"python -m zoo sample {shlex.quote(str(run.folder))}"}
    report = Report(
        title=f"{task.name}: {task.summary}",
        facts=task.facts() | {"training time": f"{records[-1]['seconds']:.1f} s"},
        metric=metric,
        model=model,
        baselines=baselines,
        sample=sample,
        sample_caption=caption,
        figures=figures,
        commands=commands,
        config=run.config,
    )
    path = run.write("report.html", report.render())
    console.facts({"report": str(path), "pictures": ", ".join(map(str, sorted(run.folder.glob("*.svg")))), **commands})


def draw(task: Task, run: Run) -> list[tuple[str, str, str]]:
    """The unrolled graph of the task's example with its messages, saved in the run's folder: as the report takes it."""
    import viz

    trace, drawn = viz.trace(task.example), []
    with warnings.catch_warnings(record=True) as remarks:
        warnings.simplefilter("always")
        for level, (name, caption) in PICTURES.items():
            if level in task.levels:
                path = viz.unroll(trace, level=level, captions=task.captions()).save(run.folder / name)
                if path.suffix == ".svg":
                    drawn.append((caption, name, path.read_text(encoding="utf-8")))
    for remark in remarks:  # without Graphviz a .dot file is written and viz says what to install
        console.say(str(remark.message))
    return drawn
