"""Checkpoints come back exactly as they were saved, and a failed save changes nothing."""

from __future__ import annotations

import errno
import os
import stat
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tinygrad_rnn as tg
from tinygrad_rnn import backend
from tinygrad_rnn.io import atomic_write, load, metadata, save

DTYPES = """bool int8 int16 int32 int64 uint8 uint16 uint32 uint64
    float16 float32 float64 complex64 complex128""".split()


def some(dtype: str, shape: tuple[int, ...] = (3, 4)) -> np.ndarray:
    """Bytes of every kind, so that nothing that rounds or reorders goes unseen (bool holds only 0 and 1)."""
    rng = np.random.default_rng(0)
    count = int(np.prod(shape))
    if dtype == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    return rng.integers(0, 256, count * np.dtype(dtype).itemsize, dtype=np.uint8).view(dtype).reshape(shape)


def assert_same(a: object, b: object) -> None:
    """Equal in type, structure, dtype, shape and every bit."""
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert list(a) == list(b)
        a, b = list(a.values()), list(b.values())
    if isinstance(a, list | tuple):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    elif isinstance(a, np.ndarray):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        assert a.tobytes() == b.tobytes()
    else:
        assert a == b or (a != a and b != b)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "checkpoint.safetensors"


@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 4), (2, 0, 3), (2, 3, 4)], ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_and_shape_comes_back_bit_for_bit(path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    array = some(dtype, shape)
    save(path, {"x": array})
    assert_same(load(path), {"x": array})


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "view",
    [
        lambda a: a.T,
        lambda a: a[::2, ::-1],
        lambda a: a.swapaxes(0, 1)[1:],
        lambda a: np.asfortranarray(a),
        lambda a: np.broadcast_to(a[:, :1], a.shape),
        lambda a: a.astype(a.dtype.newbyteorder(">")),
    ],
    ids="transposed strided sliced fortran broadcast big-endian".split(),
)
def test_the_layout_in_memory_does_not_matter(path: Path, dtype: str, view) -> None:
    array = view(some(dtype))
    save(path, array)
    assert_same(load(path), np.array(array, dtype=dtype, order="C"))


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.complex_numbers() | st.text(max_size=5)
arrays = hnp.arrays(st.sampled_from(DTYPES), hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))
keys = st.text(alphabet="ab/~._0 é", max_size=3) | st.just("__metadata__")
trees = st.recursive(
    scalars | arrays,
    lambda t: st.dictionaries(keys, t, max_size=4) | st.lists(t, max_size=3) | st.lists(t, max_size=3).map(tuple),
    max_leaves=12,
)


@given(trees)
def test_any_tree_comes_back_with_its_containers_keys_and_order(tmp_path_factory, tree: object) -> None:
    path = tmp_path_factory.mktemp("tree") / "t"
    save(path, tree)
    assert_same(load(path), tree)


def test_no_two_places_share_a_name(path: Path) -> None:
    one, two, three, four, five, six, seven = (np.array(i) for i in range(7))
    tree = {"a/b": one, "a": {"b": two}, "a~1b": three, "": {"a": four}, "__metadata__": five, "~metadata": six}
    save(path, tree | {"/": seven})
    assert_same(load(path), tree | {"/": seven})


def test_tensors_come_back_as_arrays_on_the_device_asked_for(path: Path, device: str) -> None:
    host = some("complex128")
    save(path, {"a Tensor": tg.tensor(host, device=device), "an array": backend.to_device(host, device)})
    assert_same(load(path), {"a Tensor": host, "an array": host})
    for array in load(path, device=device).values():
        assert backend.device_of(array) == device
        assert_same(backend.to_host(array), host)


def test_parameters_that_require_gradients_can_be_saved(path: Path) -> None:
    save(path, {"W": tg.tensor([1.0, 2.0], requires_grad=True)})
    assert_same(load(path), {"W": np.array([1, 2], np.float32)})


def test_training_goes_on_bit_for_bit_from_a_checkpoint(path: Path, device: str) -> None:
    def start() -> tuple[tg.nn.Module, tg.optim.Adam, tg.random.Generator]:
        rng = tg.random.Generator(0)
        model = tg.nn.Linear(3, 2, rng=rng.fork("model")).to(device)
        return model, tg.optim.Adam(model, lr=0.1), rng

    def train(model: tg.nn.Module, optimizer: tg.optim.Adam, rng: tg.random.Generator) -> None:
        for _ in range(3):
            optimizer.zero_grad()
            (model(rng.normal((5, 3), device=device)) ** 2).mean().backward()
            optimizer.step()

    names = ("model", "optimizer", "rng")
    uninterrupted = start()
    train(*uninterrupted)
    save(path, {name: part.state_dict() for name, part in zip(names, uninterrupted, strict=True)})
    train(*uninterrupted)

    resumed = start()
    for name, part in zip(names, resumed, strict=True):
        part.load_state_dict(load(path)[name])
    train(*resumed)
    for one, other in zip(uninterrupted, resumed, strict=True):
        assert_same(one.state_dict(), other.state_dict())


def test_loaded_arrays_can_be_written_to(path: Path) -> None:
    save(path, some("float32"))
    array = load(path)
    array += 1  # would raise on a read-only view of the file
    assert array.flags.c_contiguous


def test_other_programs_find_arrays_by_their_path_and_read_the_metadata(path: Path) -> None:
    from safetensors.numpy import load_file

    save(path, {"cell.U": some("int8"), "adam": {"m": [some("float64")]}}, metadata={"format": "np"})
    assert set(load_file(path)) == {"cell.U", "adam/m/0"}
    assert metadata(path) == {"format": "np"}


def test_the_file_of_another_program_loads_as_a_dict(path: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"a.b": some("float32")}, path, metadata={"by": "someone"})
    assert_same(load(path), {"a.b": some("float32")})
    assert metadata(path) == {"by": "someone"}


Point = namedtuple("Point", "x y")


@pytest.mark.parametrize(
    ("tree", "says"),
    [
        ({"a": {"b": object()}}, "the object at a/b cannot go into a checkpoint"),
        ({"s": Point(1, 2)}, r"the Point at s .*; save its _asdict\(\)"),
        ({"a": {3: 1.0}}, "key 3 at a is not a string"),
        ([np.array(["text"])], "an array at 0 has dtype str"),
        ({"big": np.zeros(2, np.longdouble)}, "an array at big has dtype"),
        (b"bytes", "the bytes at the top"),
    ],
)
def test_what_cannot_come_back_exactly_is_refused_by_name(path: Path, tree: object, says: str) -> None:
    with pytest.raises(TypeError, match=says):
        save(path, tree)
    assert list(path.parent.iterdir()) == []


def test_metadata_must_be_free_strings(path: Path) -> None:
    with pytest.raises(TypeError, match=r"metadata\['step'\] = 3"):
        save(path, {}, metadata={"step": 3})
    with pytest.raises(TypeError, match="free strings"):
        save(path, {}, metadata={"tinygrad_rnn.tree": "{}"})


@pytest.mark.parametrize("keep", [0, 5, 20, 0.5, -1], ids=str)
def test_a_truncated_file_is_named_with_the_way_out(path: Path, keep: float) -> None:
    save(path, {"W": some("float32", (32, 32)), "step": 3})
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    with pytest.raises(ValueError, match=rf"{path} is not a complete safetensors file .* take an earlier copy"):
        load(path)


@pytest.mark.parametrize("damage", [lambda b: b + b"more", lambda b: b"text, no checkpoint", lambda b: b"\xff" * 64])
def test_a_damaged_file_is_named_with_the_way_out(path: Path, damage) -> None:
    save(path, {"W": some("float32")})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match="is not a complete safetensors file"):
        load(path)


@pytest.mark.parametrize("tree", ["{", '{"dict": {"W": {"array": "gone"}}}', '{"set": []}', '{"dict": 3}'])
def test_a_structure_that_does_not_fit_the_arrays_is_an_error(path: Path, tree: str) -> None:
    from safetensors.numpy import save_file

    save_file({"W": some("float32")}, path, metadata={"tinygrad_rnn.tree": tree})
    with pytest.raises(ValueError, match="its structure"):
        load(path)


def test_a_dtype_that_numpy_lacks_is_named(path: Path) -> None:
    header = b'{"x":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}}'
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"1234")
    with pytest.raises(ValueError, match=r"holds a dtype that NumPy lacks .*bfloat16.*; convert it"):
        load(path)


def test_a_file_that_is_not_there_is_named(path: Path) -> None:
    for read in (load, metadata):
        with pytest.raises(FileNotFoundError, match=r"no such file to load.*checkpoint\.safetensors"):
            read(path)
    with pytest.raises(FileNotFoundError, match="no such file to load"):
        load(path.parent)


# Writing: the old file or the new one, nothing in between.


def assert_still_old(path: Path) -> None:
    assert path.read_text() == "old"
    assert [p.name for p in path.parent.iterdir()] == [path.name], "a temporary file was left behind"


@pytest.fixture
def old(path: Path) -> Path:
    path.write_text("old")
    return path


def test_a_save_over_an_old_file_replaces_it(old: Path) -> None:
    save(old, {"step": 1})
    assert load(old) == {"step": 1}
    assert [p.name for p in old.parent.iterdir()] == [old.name]


def test_a_disk_that_fills_up_leaves_the_old_file(old: Path) -> None:
    resource = pytest.importorskip("resource", reason="limits on file sizes exist on POSIX systems only")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # the kernel stops the write half way, as on a full disk
    try:
        with pytest.raises(OSError, match="nothing was changed") as error:
            save(old, np.zeros(1000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert error.value.errno == errno.EFBIG
    assert error.value.filename == str(old)
    assert_still_old(old)


@pytest.mark.parametrize("step", ["tinygrad_rnn.io.open", "os.fsync", "os.replace"])
@pytest.mark.parametrize(
    ("failure", "says"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device; free some space, then save again"),
        (PermissionError(errno.EACCES, "Permission denied"), "Permission denied; choose a place that can be written"),
        (KeyboardInterrupt("from the keyboard"), "from the keyboard"),
    ],
    ids=["full", "forbidden", "ctrl-c"],
)
def test_a_write_that_stops_at_any_step_leaves_the_old_file(
    old: Path, monkeypatch: pytest.MonkeyPatch, step: str, failure: BaseException, says: str
) -> None:
    def fail(*args: object) -> None:
        raise failure

    monkeypatch.setattr(step, fail, raising=False)  # `open` is a builtin
    with pytest.raises(type(failure), match=says):
        atomic_write(old, "new")
    assert_still_old(old)


def test_the_content_is_on_the_disk_before_the_name_changes(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = []
    fsync, replace = os.fsync, os.replace

    def log_fsync(fd: int) -> None:
        steps.append("folder" if stat.S_ISDIR(os.fstat(fd).st_mode) else "file")
        fsync(fd)

    def log_replace(a: str, b: str) -> None:
        steps.append("rename")
        replace(a, b)

    monkeypatch.setattr(os, "fsync", log_fsync)
    monkeypatch.setattr(os, "replace", log_replace)
    atomic_write(old, "new")
    assert steps == (["file", "rename", "folder"] if os.name == "posix" else ["file", "rename"])
    assert old.read_text() == "new"


def test_a_folder_that_is_missing_or_a_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"make the folder first; nothing was changed.*/gone/x"):
        save(tmp_path / "gone" / "x", {})
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="choose a place that can be written"):
        save(tmp_path / "file" / "x", {})


def test_a_link_keeps_pointing_where_it_did(old: Path) -> None:
    link = old.with_name("latest")
    link.symlink_to(old.name)
    atomic_write(link, b"new")
    assert link.is_symlink()
    assert old.read_text() == "new"


def test_a_new_file_has_the_permissions_that_the_user_set_for_new_files(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    atomic_write(tmp_path / "ours", "x")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode
