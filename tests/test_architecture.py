"""The tree keeps its shape: who may import whom, what an import loads, how long a file may get."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("tinygrad_rnn", "zoo", "viz")
SOURCES = {  # module name → file
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
}


def nodes(tree: ast.AST, *, inside_functions: bool) -> Iterator[ast.AST]:
    """All nodes but those that only type checkers see and, unless asked for, those inside functions."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and getattr(node.test, "id", None) == "TYPE_CHECKING":
            continue
        yield node
        if inside_functions or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from nodes(node, inside_functions=inside_functions)


@cache
def imports(module: str, *, inside_functions: bool = True) -> set[tuple[str, str]]:
    """(module, name) for every ``from module import name``, (module, "") for every ``import module``."""
    path = SOURCES[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    found = set()
    for node in nodes(ast.parse(path.read_text(), str(path)), inside_functions=inside_functions):
        if isinstance(node, ast.Import):
            found |= {(alias.name, "") for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package.rsplit(".", node.level - 1)[0] if node.level else ""
            source = ".".join(filter(None, [base, node.module]))
            found |= {(source, alias.name) for alias in node.names}
    return found


def modules(module: str, *, inside_functions: bool = True) -> set[str]:
    """The modules that a module imports; ``from package import module`` counts as the module."""
    named = imports(module, inside_functions=inside_functions)
    return {f"{source}.{name}" if f"{source}.{name}" in SOURCES else source for source, name in named}


def importers_of(package: str) -> set[str]:
    return {module for module in SOURCES if any(m.partition(".")[0] == package for m in modules(module))}


def within(package: str) -> list[str]:
    return [module for module in SOURCES if module.partition(".")[0] == package]


def test_no_file_is_longer_than_500_lines() -> None:
    files = [*SOURCES.values(), *(ROOT / "tests").rglob("*.py")]
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in files}
    assert {name: lines for name, lines in lengths.items() if lines > 500} == {}


def test_only_the_backend_imports_cupy() -> None:
    assert importers_of("cupy") == {"tinygrad_rnn.backend"}
    assert importers_of("cupyx") == set()


def test_the_references_of_the_tests_are_imported_by_the_benchmark_only() -> None:
    assert importers_of("torch") | importers_of("jax") <= {m for m in within("zoo") if m.startswith("zoo.bench.")}
    assert importers_of("scipy") | importers_of("tests") == set()


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_of_modules_form_no_cycle(package: str) -> None:
    graph = {m: modules(m, inside_functions=False) & set(SOURCES) - {m, package} for m in within(package)}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))


def test_the_engine_does_not_know_the_packages_built_on_it() -> None:
    above = {m: modules(m) & {n for n in SOURCES if not n.startswith("tinygrad_rnn")} for m in within("tinygrad_rnn")}
    assert {module: known for module, known in above.items() if known} == {}


def test_ops_know_the_core_and_each_other_only() -> None:
    allowed = {f"tinygrad_rnn.{name}" for name in ("backend", "declare", "node", "op", "tensor")}
    strangers = {
        module: known
        for module in SOURCES
        if module.startswith("tinygrad_rnn.ops.")
        and (known := {m for m in modules(module) & set(SOURCES) - allowed if not m.startswith("tinygrad_rnn.ops")})
    }
    assert strangers == {}


@pytest.mark.parametrize("module", ["node", "tensor", "op", "backend"])
def test_the_core_knows_ops_only_through_op(module: str) -> None:
    known = modules(f"tinygrad_rnn.{module}", inside_functions=False)
    assert {m for m in known if m.startswith("tinygrad_rnn.ops")} == set()


def public(module: str) -> set[str]:
    """The names a module offers: its __all__, or what it defines and imports without an underscore."""
    loaded = importlib.import_module(module)
    return set(getattr(loaded, "__all__", [name for name in vars(loaded) if not name.startswith("_")]))


@pytest.mark.parametrize("module", within("zoo") + within("viz"))
def test_zoo_and_viz_use_the_engines_public_names_only(module: str) -> None:
    for source, name in imports(module):
        if source.partition(".")[0] == "tinygrad_rnn":
            inside = source.partition(".")[2].split(".")[0]
            assert not inside or inside in public("tinygrad_rnn"), f"{module} imports {source}, which is not public"
            assert not name or name in public(source), f"{module} imports {name}, which {source} does not offer"


def loaded_by(statement: str) -> set[str]:
    """Top-level modules outside the standard library that a statement loads in a fresh interpreter with NumPy."""
    code = (
        "import sys, numpy; before = set(sys.modules);"
        f"{statement}; print(*{{m.partition('.')[0] for m in set(sys.modules) - before}})"
    )
    output = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return {name for name in output.split() if name not in sys.stdlib_module_names}


def test_importing_the_engine_loads_numpy_only() -> None:
    assert loaded_by("import tinygrad_rnn") == {"tinygrad_rnn"}


@pytest.mark.parametrize("package", ["zoo", "viz"])
def test_importing_a_package_loads_no_other_library(package: str) -> None:
    assert loaded_by(f"import {package}") <= set(PACKAGES)
