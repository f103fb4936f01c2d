"""The training loop that every task shares: resumable bit for bit, stoppable at any step, ending in a report."""

from __future__ import annotations

import math
import shlex
import signal
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import FrameType
from typing import Any, Literal

import tinygrad_rnn as tg
from tinygrad_rnn.backend import is_array, to_device
from tinygrad_rnn.bptt import Strategy
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

    Each step: one problem of the task. Each update that the strategy finds along it: the gradient clipped by its global
    norm, a step of the task's optimiser, its learning rate on a cosine after a linear warm-up. What a strategy carries
    along goes on with the carry, but for graphs, as a window holds them, which end with their step. The ways that a run
    is computed in are those of its folder. Raises KeyboardInterrupt after Ctrl-C or SIGTERM, once everything is saved;
    `UserError` when the strategy cannot do the task, when the loss is no longer a finite number, or when a way that the
    run began with is not to be had here.
    """
    fix(run.choices())
    try:
        with Patience() as patience:
            _steps(task, run, patience)
        finish(task, run)
    except Unavailable as error:
        raise UserError(f"{run.folder}: {error}") from error


def strategy(task: Task) -> Strategy:
    """How the gradients of a task are found; `UserError` when they cannot be found in that way."""
    way = tg.bptt.strategy(task.options["bptt"])
    try:
        way.check(task.problem(0, task.begin()))
    except ValueError as error:
        raise UserError(f"--bptt {way}: {error}; {task.name} takes --bptt {task.defaults['bptt']}") from error
    return way


def _steps(task: Task, run: Run, patience: Patience) -> None:
    options, steps = task.options, task.options["steps"]
    peak, way = options["learning-rate"], strategy(task)
    optimizer = task.optimizer()
    rise = min(options["warmup"], steps // 2)
    schedule = tg.optim.cosine(peak, steps=steps - rise)
    schedule = tg.optim.warmup(schedule, rise) if rise else schedule

    step, seconds, carry, memory = 0, 0.0, task.begin(), None
    if saved := run.restore():
        step, seconds, carry, memory = _restored(saved, task, optimizer, carry, run)
        console.say(f"resuming at step {step} of {steps}")

    def save() -> None:
        on = task.goes_on(step)
        run.save({
            "step": step,
            "seconds": seconds,
            "model": task.model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "carry": tg.tree.leaves(carry if on else task.begin()),
            "memory": memory if on else None,
        })  # fmt: skip

    evaluate_every, save_every = _every(steps, EVALUATIONS), _every(steps, CHECKPOINTS)
    shown = {"total": steps, "done": step, "every": evaluate_every, "unit": task.unit}
    with console.Progress(task.metric, **shown) as progress:
        started = time.perf_counter() - seconds
        while step < steps:
            if not task.goes_on(step):
                carry, memory = task.begin(), None
            problem = task.problem(step, carry)
            updates = partial(way.updates, problem, memory=memory)
            luck = tg.random.Generator(task.seed).fork("bptt", step)  # no state of it need be saved
            optimizer.lr, loss, norm = schedule(step), 0.0, 0.0
            try:
                for update in updates(rng=luck):
                    loss = _finite(loss + update.loss)
                    part = tg.optim.clip_by_global_norm(update.gradients, options["clip"])
                    if part:  # zero where no loss has come yet: no gradient, though Adam would go on with the last ones
                        optimizer.step(update.gradients)
                    norm, carry, memory = max(norm, part), update.carry, update.memory
                memory = memory if plain(memory) else None  # one that holds graphs ends with its step
            except FloatingPointError as error:
                raise UserError(
                    f"step {step + 1}: {error}{_origin(updates)}; try a --learning-rate below {peak} or a "
                    f"smaller --clip. The last good checkpoint is in {run.folder}"
                ) from error
            step += 1
            held_out = None
            if step == steps or step % evaluate_every == 0:
                held_out = task.evaluate()
            seconds = time.perf_counter() - started
            record: dict[str, Any] = {
                "step": step, "loss": loss, "gradient_norm": norm,
                "learning_rate": optimizer.lr, "seconds": round(seconds, 3),
            }  # fmt: skip
            metric = task.metric.of(loss)
            run.choose(taken())
            run.append(record | {k: v for k, v in (("metric", metric), ("evaluated", held_out)) if v is not None})
            tokens = len(problem) * options.get("batch", 1)
            progress.update(step, loss=loss, metric=metric, tokens=tokens, held_out=held_out)
            if step % save_every == 0 or step == steps or patience.signal:
                save()
            if patience.signal:
                raise KeyboardInterrupt


def plain(memory: Any) -> bool:
    """Whether a memory is arrays and numbers in lists, tuples and dicts: what a checkpoint gives back as it was."""
    if type(memory) in (list, tuple, dict):
        return all(map(plain, memory.values() if isinstance(memory, dict) else memory))
    return memory is None or type(memory) in (bool, int, float, str) or is_array(memory)


def _restored(
    saved: Mapping[str, Any], task: Task, optimizer: Any, carry: Any, run: Run
) -> tuple[int, float, Any, Any]:
    """Step, seconds, carry and memory of a checkpoint, whose model and optimiser state are taken over."""
    try:
        task.model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        device = task.model.parameters()[0].device
        arrays = [tg.tensor(array, device=device) for array in saved["carry"]]
        carry = tg.tree.unflatten(tg.tree.flatten(carry)[1], arrays)
        memory = tg.tree.map(lambda a: to_device(a, device) if is_array(a) else a, saved["memory"])
        return saved["step"], saved["seconds"], carry, memory
    except (ValueError, KeyError) as error:
        raise UserError(f"the checkpoint in {run.folder} does not fit its config.json: {error}") from error


def _finite(loss: float) -> float:
    if not math.isfinite(loss):
        raise FloatingPointError(f"the loss is {loss}")
    return loss


def _origin(updates: Callable[[], Iterable[Any]]) -> str:
    """Where the NaN of this step was made: the step once more, watched."""
    try:
        with tg.detect_anomaly():
            deque(updates(), maxlen=0)
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
    cell = f" ({task.options['cell']})" if "cell" in task.options else ""
    model = Score(f"this model{cell}", records[-1]["evaluated"])
    baselines = task.baselines()
    ranked = sorted([model, *baselines], key=lambda score: metric.rank(score.value))
    rows = [[score.name, metric.show(score.value)] for score in ranked]
    console.table(["", metric.name], rows, numbers=1, emphasis=ranked.index(model))
    caption, sample = task.sample()
    console.say(f"{caption}:\n{sample}\n")
    verdict = {"criterion": text} if (text := task.verdict()) else {}

    curve = loss_curve(records, metric, baselines)
    run.write("loss.svg", curve)
    figures = [("Loss curve", "loss.svg", curve), *draw(task, run)]
    commands = {"ask it": f"python -m zoo sample {shlex.quote(str(run.folder))}"}
    report = Report(
        title=f"{task.name}: {task.summary}",
        facts=task.facts() | {"training time": f"{records[-1]['seconds']:.1f} s"} | verdict,
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
    pictures = ", ".join(map(str, sorted(run.folder.glob("*.svg"))))
    console.facts(verdict | {"report": str(path), "pictures": pictures, **commands})


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
