"""The tasks by name; each lives in a module of its own, imported when it is asked for."""

from __future__ import annotations

from importlib import import_module

from zoo.errors import unknown
from zoo.tasks.task import Task

TASKS = {
    "helo": "zoo.tasks.helo:Helo",
    "char-lm": "zoo.tasks.char_lm:CharLM",
    "copy": "zoo.tasks.copy:Copy",
    "adding": "zoo.tasks.adding:Adding",
    "temporal-order": "zoo.tasks.temporal_order:TemporalOrder",
    "influence-balancing": "zoo.tasks.influence_balancing:InfluenceBalancing",
}


def find(name: str) -> type[Task]:
    """The class of a task; `UserError` with the nearest names when there is no such task.

    >>> find("helo").summary
    'shown h, e, l, l, predict e, l, l, o'
    """
    if name not in TASKS:
        raise unknown("task", name, TASKS)
    module, _, attribute = TASKS[name].partition(":")
    return getattr(import_module(module), attribute)
