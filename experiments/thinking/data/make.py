"""Write data that are made here as the published files, for other programs, or to be read again with ``data: FOLDER``.

::

    python -m experiments.thinking.data.make prefix_sums data 16 32 512
    python -m experiments.thinking.data.make mazes data 9 13 --count 1000
    python -m experiments.thinking.data.make chess data 7000

Numbers are lengths of strings, sizes of mazes (both for training and for tests), or how many surrogate puzzles. Names
and shapes are those of the published packages (spec §2); mazes are bytes, eight times smaller than the original's.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import torch

from experiments.thinking.data import chess, mazes, prefix_sums


def write_strings(folder: Path, length: int, count: int | None, seed: int) -> None:
    """Write strings and their sums, float tensors (n, length)."""
    place = folder / "prefix_sums_data"
    place.mkdir(parents=True, exist_ok=True)
    bits = prefix_sums.strings(length, count or prefix_sums.SAMPLES, seed)
    torch.save(torch.from_numpy(bits).float(), place / f"{length}_data.pth")
    torch.save(torch.from_numpy(prefix_sums.sums(bits)).float(), place / f"{length}_targets.pth")


def write_mazes(folder: Path, size: int, count: int | None, seed: int) -> None:
    """Write mazes for training and for tests, uint8 arrays."""
    for part in ("train", "test"):
        place = folder / f"maze_data_{part}_{size}"
        place.mkdir(parents=True, exist_ok=True)
        made = mazes.generate(part, size, count or mazes.samples(part, size), seed)
        np.save(place / "inputs.npy", made.inputs)
        np.save(place / "solutions.npy", made.solutions)


def write_puzzles(folder: Path, number: int, count: int | None, seed: int) -> None:  # noqa: ARG001
    """Write surrogate puzzles, float tensors; ``surrogate`` says what they are."""
    place = folder / "chess_data"
    place.mkdir(parents=True, exist_ok=True)
    made = chess.surrogate(number, seed)
    torch.save(torch.from_numpy(made.inputs).float(), place / "data.pth")
    torch.save(torch.from_numpy(made.targets).float(), place / "targets.pth")
    torch.save(torch.from_numpy(made.black[:, 0]).float(), place / "who_moves.pth")
    torch.save(torch.arange(number).float(), place / "rating.pth")
    (place / "surrogate").write_text(f"{number} surrogate puzzles, seed {seed}: no puzzles of Lichess\n")


WRITERS: dict[str, Callable[[Path, int, int | None, int], None]] = {
    "prefix_sums": write_strings,
    "mazes": write_mazes,
    "chess": write_puzzles,
}


@click.command()
@click.argument("problem", type=click.Choice(list(WRITERS)))
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.argument("numbers", type=click.IntRange(min=2), nargs=-1, required=True)
@click.option("--count", type=click.IntRange(min=1), help="Samples; as many as were published, if not given.")
@click.option("--seed", default=0, show_default=True, help="Of the data.")
def main(problem: str, folder: Path, numbers: tuple[int, ...], count: int | None, seed: int) -> None:
    """Write the data of a PROBLEM into FOLDER."""
    try:
        for number in numbers:
            WRITERS[problem](folder, number, count, seed)
    except ValueError as error:
        raise click.ClickException(str(error)) from None


if __name__ == "__main__":
    main()
