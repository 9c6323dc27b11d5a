"""Where and how precisely it is computed, and the weights as files."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from experiments.thinking import naming
from experiments.thinking.data.problem import Problem
from experiments.thinking.nets import Net
from experiments.thinking.params import Thinking
from orchestrator.errors import UserError

HOW = ("alpha", "train_mode", "lr", "lr_factor", "epochs", "optimizer")
"""What tests report of the training of a net (spec §4.5); it may be another where the net is used."""


def prepare(p: Thinking) -> torch.device:
    """Make torch deterministic, with one thread, as precise as is asked for; return the GPU if there is one."""
    torch.set_num_threads(1)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = p.precision == "tf32"
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def precision(p: Thinking, device: torch.device) -> AbstractContextManager[Any]:
    """Return the context of forward passes; casts are not remembered: one without gradient would be used again."""
    return torch.autocast(device.type, torch.bfloat16, enabled=p.precision == "bf16", cache_enabled=False)


def place(net: Net, p: Thinking, device: torch.device) -> None:
    """Bring a net to a device, and have its modules compiled if that is asked for."""
    net.to(device)
    if p.engine == "compiled":
        for module in net.feed_forward if p.feed_forward else [net.recur]:
            module.compile(dynamic=False)


def on(problem: Problem, device: torch.device) -> Problem:
    """Bring all samples to a device: as bytes, they are small."""
    train, val, test = (
        split._replace(inputs=split.inputs.to(device), targets=split.targets.to(device))
        for split in (problem.train, problem.val, problem.test)
    )
    return problem._replace(train=train, val=val, test=test)


def weights(net: nn.Module) -> dict[str, Tensor]:
    """Return a copy of a net's weights on the CPU, in the usual order of memory."""
    return {
        name: value.detach().to("cpu", copy=True).contiguous(memory_format=torch.contiguous_format)
        for name, value in net.state_dict().items()
    }


def save(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint: plain values and tensors only, so that loaders can refuse everything else."""
    aside = path.with_name(f".{path.name}.part")
    torch.save(content, aside)
    aside.replace(path)


def made_as(p: Thinking) -> dict[str, Any]:
    """Return what a net's weights do not tell of it: what it computes, and, if this run trains it, :data:`HOW`."""
    found: dict[str, Any] = {"problem": p.problem, "model": p.model, "recall_relu": p.recall_relu}
    if p.problem == "chess":
        found["chess_orientation"] = p.chess_orientation
    return found | ({name: getattr(p, name) for name in HOW} if p.epochs else {})


def read(path: Path) -> dict[str, Any]:
    """Read a checkpoint.

    Raises
    ------
    UserError
        If the file is not there, or is no checkpoint.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(
            f"there is no checkpoint {path}: give the path of a file such as model_best.pth; a relative one begins at"
            " the study's folder"
        ) from None
    except Exception as error:
        raise UserError(f"{path} cannot be read as a checkpoint: {error}") from error
    net = content.get("net") if isinstance(content, dict) else None
    if not isinstance(net, dict) or not all(isinstance(value, Tensor) for value in net.values()):
        raise UserError(f"{path} is no checkpoint of a net: it should hold net and epoch")
    return content


def load(path: Path, net: Net, p: Thinking) -> dict[str, Any]:
    """Read a checkpoint, put its weights into the net that parameters describe, and return all of it.

    Weights may have other names, as those of the published programs do (:mod:`.naming`).

    Raises
    ------
    UserError
        If the file is not there, is no checkpoint, or is one of another net.
    """
    content = read(path)
    given, own = naming.bare(content["net"]), net.state_dict()
    found = naming.translated(own, given)
    if found is None:
        raise UserError(
            f"{path} holds the weights of another net: {naming.difference(own, given)}; set model, width and max_iters"
            " as that net was trained"
        )
    expected = made_as(p)
    for name, value in content.get("made_as", expected).items():
        if name not in HOW and expected.get(name) != value:
            raise UserError(
                f"{path} holds the weights of a net with {name} {value}, and {name} is {expected.get(name)} here"
            )
    net.load_state_dict(found)
    return content
