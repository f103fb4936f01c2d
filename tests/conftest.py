"""What the tests share: one thread a process, steady random examples, the devices, a cache of compiled code that goes
with the session, and the options ``--skipped-before`` and ``--full-grid``."""

from __future__ import annotations

import os
import shutil
import tempfile

for _library in ("OPENBLAS", "OMP", "MKL"):
    os.environ.setdefault(f"{_library}_NUM_THREADS", "1")  # read when NumPy is first imported

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from tests import strict  # noqa: F401  (makes the device "strict")
from tinygrad_rnn import backend

settings.register_profile(
    "tests",
    deadline=None,
    max_examples=30,
    derandomize="CI" in os.environ,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # `device` is only a string
)
settings.load_profile("tests")


@pytest.fixture(params=["cpu", "strict", pytest.param("cuda:0", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> str:
    """Each device in turn; skipped, with the reason, where this machine has none of the kind."""
    try:
        backend.to_device(np.zeros(()), request.param)
    except RuntimeError as reason:
        pytest.skip(str(reason))
    return request.param


# `pytest --skipped-before` runs what the previous run skipped: after installing an optional package, only its tests.

_SKIPPED = "tinygrad_rnn/skipped"
_skipped: set[str] = set()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full-grid", action="store_true", help="compiled cells: all of the grid of sizes")
    parser.addoption("--skipped-before", action="store_true", help="run only the tests that the previous run skipped")


_CACHE = "TINYGRAD_RNN_CACHE"


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # xdist's workers inherit it: what one compiles, the others find
        os.environ[_CACHE] = tempfile.mkdtemp(prefix="tinygrad_rnn-cache-")


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        shutil.rmtree(os.environ.pop(_CACHE), ignore_errors=True)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped:
        _skipped.add(report.nodeid)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.skipped:
        _skipped.add(report.nodeid)  # a whole file


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--skipped-before"):
        before = set(config.cache.get(_SKIPPED, []))
        keep = [item for item in items if {item.nodeid, item.nodeid.partition("::")[0]} & before]
        config.hook.pytest_deselected(items=[item for item in items if item not in keep])
        items[:] = keep


def pytest_sessionfinish(session: pytest.Session) -> None:
    cache = getattr(session.config, "cache", None)  # none with -p no:cacheprovider
    if cache and not hasattr(session.config, "workerinput"):  # xdist: the workers' reports reach the controller
        cache.set(_SKIPPED, sorted(_skipped))
