"""LLVM on this machine: a module of intermediate code becomes functions; their object code is kept on disk.

llvmlite, the LLVM binding of the Numba project, does the compiling; nothing else of Numba is needed.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import sys
import tempfile
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

__all__ = ["available", "build", "cache_folder", "load", "processor", "vector_bytes"]

SIGNATURE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
DIGEST = 32
LIBM = "acos asin atan atan2 ceil cos erf exp expm1 floor fmod log log1p pow sin sinh cosh tan tanh memcpy memset"


def available() -> str | None:
    """None when machine code can be made here, else why not."""
    if os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0"):
        return "NUMBA_DISABLE_JIT is set"
    try:
        import llvmlite.binding  # noqa: F401
    except ImportError:
        return "llvmlite is not installed: pip install llvmlite"
    return None


@lru_cache(maxsize=1)
def _host() -> tuple[str, str, str]:
    """Processor, its features, and all that machine code depends on; the functions of libm are made known to LLVM."""
    import llvmlite
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    cpu, features = llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()
    library = ctypes.CDLL("ucrtbase" if sys.platform == "win32" else None)  # None: what Python itself is linked with
    maths = library if hasattr(library, "tanh") else ctypes.CDLL("libm.so.6")
    for name in LIBM.split():
        for symbol in (name, f"{name}f"):
            if hasattr(maths, symbol):
                llvm.add_symbol(symbol, ctypes.cast(getattr(maths, symbol), ctypes.c_void_p).value)
    return cpu, features, f"{cpu} {features} llvmlite {llvmlite.__version__} LLVM {llvm.llvm_version_info}"


def _machine() -> Any:
    import llvmlite.binding as llvm

    cpu, features, _ = _host()
    return llvm.Target.from_default_triple().create_target_machine(cpu=cpu, features=features, opt=3)


def processor() -> str:
    """The name of this processor, as far as it can be told."""
    return _host()[0] if available() is None else platform.machine()


@lru_cache(maxsize=1)
def vector_bytes() -> int:
    """The width of this processor's vectors: 64 (AVX-512), 32 (AVX2) or 16 bytes (NEON, SSE)."""
    import llvmlite.binding as llvm

    features = llvm.get_host_cpu_features()
    return 64 if features.get("avx512f") else 32 if features.get("avx2") and features.get("fma") else 16


def cache_folder() -> Path:
    """Where compiled code and measured choices are kept: TINYGRAD_RNN_CACHE, else the user's cache folder."""
    if chosen := os.environ.get("TINYGRAD_RNN_CACHE"):
        return Path(chosen)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "tinygrad_rnn"


def build(source: str) -> bytes:
    """The object code of a module given as LLVM assembly: from the disk, or compiled now and put there."""
    *_, identity = _host()
    path = cache_folder() / f"{hashlib.sha256((identity + source).encode()).hexdigest()[:40]}.o"
    try:
        stored = path.read_bytes()
    except OSError:
        stored = b""
    if stored[:DIGEST] == hashlib.sha256(stored[DIGEST:]).digest() and len(stored) > DIGEST:
        return stored[DIGEST:]
    code = _compile(source)
    with suppress(OSError):  # a folder that cannot be written costs the next process this compilation, nothing else
        _keep(path, hashlib.sha256(code).digest() + code)
    return code


def _compile(source: str) -> bytes:
    import llvmlite.binding as llvm

    machine = _machine()
    module = llvm.parse_assembly(source)
    module.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    options.loop_vectorization = options.slp_vectorization = options.loop_unrolling = False  # the vectors are ours
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    return machine.emit_object(module)


def _keep(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as aside:
        aside.write(content)
    os.replace(aside.name, path)


def load(code: bytes, names: list[str]) -> list[Any]:
    """Functions ``name(pointers, integers, scalars, first, last)`` of object code; a call releases the GIL."""
    import llvmlite.binding as llvm

    _host()
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _machine())
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    functions: list[Any] = [SIGNATURE(engine.get_function_address(name)) for name in names]
    for function in functions:
        function.engine = engine  # the code lives as long as one of its functions
    return functions
