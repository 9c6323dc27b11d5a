"""What a net thinks, iteration by iteration: a picture of each readout beside the solution (spec §4.6, ``output_viz``).

::

    python -m experiments.thinking.frames runs/STUDY/…/model_best.pth frames --size 33 --iterations 60

writes ``frames/001.png`` … ``frames/060.png``: prediction, gap, solution. Strings are pictures of one row. The net is
the one that the checkpoint says it is; checkpoints of other programs do not say it.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
import torch
from pydantic import ValidationError

from experiments.thinking import computation, nets
from experiments.thinking.data import SOURCES
from experiments.thinking.decoding import predict
from experiments.thinking.params import LEGACY, Thinking
from orchestrator.errors import UserError

Image = npt.NDArray[np.uint8]

SCALE = 8
"""Pixels of a cell, in either direction."""

GAP, GREY, WHITE = 2, 128, 255


def params(content: Mapping[str, Any], size: int, sample: int, iterations: int, data: str | None) -> Thinking:
    """Return the parameters of a checkpoint's net, and of one hard sample.

    Raises
    ------
    UserError
        If the checkpoint does not say which net it holds, or there is no such sample.
    """
    made, weights = content.get("made_as"), content["net"]
    if made is None or "projection.weight" not in weights:
        raise UserError("the checkpoint does not say which net it holds: take one that a run here has written")
    known = {name: made[name] for name in ("problem", "model", "recall_relu", "chess_orientation") if name in made}
    wide = len(weights["projection.weight"])
    modules = {name.split(".")[1] for name in weights if name.startswith("feed_forward.")}
    problem = known["problem"]
    given: dict[str, Any] = {"test_data": size, "test_samples": sample + 1}
    if problem == "chess":
        given = {"train_data": 1, "test_data": size + sample, "test_samples": 1}
    try:
        return Thinking(
            **known,
            **given,
            width=wide // 64 if known["model"] in LEGACY[problem] and problem != "prefix_sums" else wide,
            max_iters=len(modules) or iterations,
            test_iterations_low=None,
            test_iterations_high=None,
            data=data,
        )
    except ValidationError as error:
        raise UserError(f"there is no such net or sample: {error.errors()[0]['msg']}") from error


@torch.no_grad()
def frames(content: Mapping[str, Any], p: Thinking, iterations: int) -> Iterator[Image]:
    """Yield a picture after each iteration, uint8 (h, 2 w + gap): prediction, gap, solution."""
    source = SOURCES[p.problem]
    split = source.hard(p)
    inputs, targets = split.inputs[-1:], split.targets[-1:]
    net = nets.build(p)
    net.load_state_dict(content["net"])
    net.eval()
    net.check(0, iterations)
    x, mask = source.encode(inputs), source.mask(inputs) if source.mask else None
    thought, recalled = net.project(x), net.recalled(x)
    for index in range(iterations):
        thought = net.iterate(thought, recalled, index)
        yield beside(predict(p.problem, net.readout(thought), mask)[0].numpy(), targets[0].numpy())


def beside(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> Image:
    """Return two pictures of zeros and ones, or of one row, side by side: white is 1."""
    left, right = (np.atleast_2d(part).astype(np.uint8) * WHITE for part in (one, other))
    return np.hstack([left, np.full((len(left), GAP), GREY, np.uint8), right])


def png(image: Image) -> bytes:
    """Return a grey picture (h, w) as a PNG file."""
    rows = np.repeat(np.repeat(image, SCALE, axis=0), SCALE, axis=1)
    height, width = rows.shape
    lines = np.pad(rows, ((0, 0), (1, 0)))  # every line begins with its filter: none

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = zlib.compress(lines.tobytes())
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@click.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--size", type=click.IntRange(min=2), required=True, help="Bits, size of the maze, or index of the puzzle."
)
@click.option("--iterations", type=click.IntRange(min=1), default=30, show_default=True, help="How long it thinks.")
@click.option("--sample", type=click.IntRange(min=0), default=0, show_default=True, help="Which of the samples.")
@click.option("--data", help="Folder with published files.")
def main(checkpoint: Path, out: Path, size: int, iterations: int, sample: int, data: str | None) -> None:
    """Write a picture of what the net of CHECKPOINT reads from its thought after each iteration, into OUT."""
    try:
        content = computation.read(checkpoint)
        p = params(content, size, sample, iterations, data)
        out.mkdir(parents=True, exist_ok=True)
        for number, image in enumerate(frames(content, p, iterations), 1):
            (out / f"{number:03}.png").write_bytes(png(image))
    except UserError as error:
        raise click.ClickException(str(error)) from None


if __name__ == "__main__":
    main()
