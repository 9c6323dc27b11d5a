"""How a step is executed: eagerly, or compiled as one graph. The engine decides last bits, so it has an identity.

*compiled* traces a function once for its shapes, and has inductor make a shared library of it, ahead of time. The
library is called without guards and without a Python wrapper between kernels: some 10 µs per call instead of the 50 to
80 µs of ``torch.compile``, which is a quarter of a step at 225 lanes. It is found again by the digest of the traced
graph, so that a warm start imports neither dynamo nor inductor.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import platformdirs
import torch
from torch import Tensor

from orchestrator.errors import UserError

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # of <malloc.h>

Flat = Callable[[Sequence[Tensor]], Sequence[Tensor]]
"""A function of tensors that returns tensors, both in a fixed order."""

WIDTHS = {"compiled": 16, "eager": 64}
"""Lanes are padded to a multiple of this: vector code and its scalar tail differ in the last bits of ``pow``, and
torch's eager sums add four vectors of columns (16 floats each) in another order than what is left over."""


def resolve(engine: str = "auto", device: str = "auto") -> dict[str, Any]:
    """Choose the engine of this machine, and describe all of it that can change a result's last bits.

    Parameters
    ----------
    engine
        ``compiled``, ``eager``, or ``auto``: compiled where a C++ compiler works.
    device
        ``cpu``, ``cuda``, or ``auto``: cuda where there is one.

    Raises
    ------
    UserError
        If a compiler or a device is asked for that is not there.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("device: cuda is asked for, but torch finds no CUDA device here; use device: cpu or auto.")
    if engine == "auto":
        engine = "compiled" if compiler() else "eager"
    if engine == "compiled" and not compiler():
        raise UserError(
            "engine: compiled needs a C++ compiler, but neither CXX nor g++ nor clang++ compiles here;"
            " install or load one, or use engine: eager (about a third of the speed)."
        )
    isa = torch.backends.cpu.get_cpu_capability() if device == "cpu" else torch.cuda.get_device_name()
    return {"kind": engine, "device": device, "torch": torch.__version__, "isa": isa, "threads": 1}


def compiler() -> str | None:
    """Return the C++ compiler that works here: the one ``CXX`` names, else g++, else clang++."""
    for name in filter(None, [os.environ.get("CXX"), "g++", "clang++"]):
        path = shutil.which(name)
        if path is None:
            continue
        made = subprocess.run(
            [path, "-x", "c++", "-fopenmp", "-fsyntax-only", "-"],
            input=b"#include <omp.h>\n#include <vector>\n",
            capture_output=True,
            check=False,
        )
        if made.returncode == 0:
            return path
    return None


def keep_freed_memory() -> None:
    """Have glibc keep freed blocks for the next request; nothing happens where another C library is in use.

    A step frees and asks for the same megabytes again and again. By default they go back to the system each time, and
    every 4 kB of them costs a page fault on return: a third of an eager step.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return
    for parameter, size in ((_TRIM_THRESHOLD, 1 << 30), (_TOP_PAD, 1 << 26), (_MMAP_THRESHOLD, 1 << 25)):
        mallopt(parameter, size)


def prepare(function: Flat, inputs: Sequence[Tensor], engine: Mapping[str, Any]) -> Flat:
    """Return ``function`` as the engine executes it, for inputs of these shapes.

    ``function`` must be pure. Tensors that it closes over stay what they are at this moment.
    """
    if engine["kind"] == "eager":
        return torch.no_grad()(function)
    if engine["device"] == "cuda":
        return torch.no_grad()(torch.compile(function, fullgraph=True, dynamic=False))
    return _ahead_of_time(function, inputs)


# --- ahead of time ----------------------------------------------------------------------------------------------------


def cache_directory() -> Path:
    """Return where compiled steps are kept: below ``TORCHINDUCTOR_CACHE_DIR`` if set, else in the user's cache.

    One directory per torch version and processor: libraries are compiled for the very processor.
    """
    root = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    base = Path(root) / "orch" if root else Path(platformdirs.user_cache_dir("orch")) / "compiled"
    return base / f"torch-{torch.__version__}-{_processor()}"


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        flags = next(line for line in text.splitlines() if line.startswith(("flags", "Features")))
    except (OSError, StopIteration):
        flags = platform.processor()
    return platform.machine() + "-" + hashlib.sha256(flags.encode()).hexdigest()[:12]


def _ahead_of_time(function: Flat, inputs: Sequence[Tensor]) -> Flat:
    from torch.fx.experimental.proxy_tensor import make_fx

    def positional(*leaves: Tensor) -> Sequence[Tensor]:
        return function(leaves)

    with torch.no_grad():
        traced = make_fx(positional, tracing_mode="fake", _allow_non_fake_inputs=True)(*inputs)
    captured = _lift(traced)
    leaves = [*inputs, *captured]
    library = cache_directory() / f"{_digest(traced, leaves)}.so"
    if not library.exists():
        _compile(traced, leaves, library)
    runner = torch._C._aoti.AOTIModelContainerRunnerCpu(str(library), 1)

    def call(tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        found: Sequence[Tensor] = runner.run([*tensors, *captured])
        return found

    return call


def _lift(traced: torch.fx.GraphModule) -> list[Tensor]:
    """Turn the tensors that a traced function closes over into inputs, so that their values are not compiled in."""
    graph = traced.graph
    captured: list[Tensor] = []
    last = [node for node in graph.nodes if node.op == "placeholder"][-1]
    found: dict[str, torch.fx.Node] = {}
    for node in [node for node in graph.nodes if node.op == "get_attr"]:
        name = str(node.target)
        if name not in found:
            with graph.inserting_after(last):
                last = found[name] = graph.placeholder(f"captured_{len(captured)}")
            captured.append(getattr(traced, name).detach())
        node.replace_all_uses_with(found[name])
        graph.erase_node(node)
    for node in graph.nodes:
        node.meta.clear()  # tracing's own stand-ins; inductor makes its own from the inputs
    traced.recompile()
    return captured


def _digest(traced: torch.fx.GraphModule, leaves: Sequence[Tensor]) -> str:
    shapes = [(tuple(leaf.shape), tuple(leaf.stride()), str(leaf.dtype)) for leaf in leaves]
    return hashlib.sha256(f"{traced.code}{shapes}".encode()).hexdigest()[:32]


def _compile(traced: torch.fx.GraphModule, leaves: Sequence[Tensor], library: Path) -> None:
    import torch._inductor

    library.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=library.parent, prefix="making-") as scratch:
        made = Path(scratch) / "step.so"
        options = {"aot_inductor.output_path": str(made)}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch's own making
            found = torch._inductor.aot_compile(traced, tuple(leaves), options=options)
        # Beside other workers that compile the same: the last rename wins, and all libraries are equal.
        Path(str(found)).replace(library)
