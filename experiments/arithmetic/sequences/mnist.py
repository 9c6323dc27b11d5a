"""Sequential MNIST: a network learns to read digits and to reckon with them, from running results alone.

*Neural Arithmetic Units* (arXiv 2001.05016), section 4.2. Read it from top to bottom: sequences, network, training,
evaluation.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from experiments.arithmetic.sequences import cells, images, training
from experiments.arithmetic.sequences.cells import Cell
from experiments.arithmetic.sequences.mnist_params import SequentialMnist
from experiments.arithmetic.sequences.residual import Residual

TRAIN_SEED, VALID_SEED, TEST_SEED = 62379872, 47430696, 88253339
"""Of the permutations that cut images into sequences for evaluation; training has one of its own for each run."""

STOP_EVERY = 50
"""Updates between two looks whether to stop; a run goes on from the beginning of an epoch."""

CHUNK = 1000
"""Images that are read at one time in evaluation."""

Indices = npt.NDArray[np.int64]


# --- sequences --------------------------------------------------------------------------------------------------------


def sequences(labels: npt.NDArray[np.uint8], digits: str, length: int, seed: int) -> Indices:
    """Cut the images of some digits into sequences, int64 (n, length): a permutation, without its remainder."""
    chosen = np.flatnonzero(np.isin(labels, [int(digit) for digit in digits]))
    order = np.random.RandomState(seed).permutation(chosen)
    count = len(order) // length
    return order[: count * length].reshape(count, length)


def targets(labels: npt.NDArray[np.uint8], operation: str) -> npt.NDArray[np.float32]:
    """Return the running results of sequences (n, length), float32 (n, length, 1), or (n, length, 10) for counts."""
    values = labels.astype(np.float64)
    found: npt.NDArray[Any]
    match operation:
        case "sum":
            found = np.cumsum(values, axis=1)
        case "product":
            found = np.cumprod(values, axis=1)
        case "division":
            found = np.cumprod(1 / values, axis=1)
        case _:
            return np.cumsum(labels[..., None] == np.arange(10), axis=1).astype(np.float32)
    return found[..., None].astype(np.float32)


# --- network ----------------------------------------------------------------------------------------------------------


class Reader(nn.Module):
    """Reads numbers from images (n, 1, 28, 28): two convolutions and two linear layers, (n, outputs)."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 20, 5), nn.Conv2d(20, 50, 5)
        self.fc1, self.fc2 = nn.Linear(800, 500), nn.Linear(500, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return what is read."""
        x = functional.max_pool2d(functional.relu(self.conv1(x)), 2)
        x = functional.max_pool2d(functional.relu(self.conv2(x)), 2)
        read: Tensor = self.fc2(functional.relu(self.fc1(x.flatten(1))))
        return read


class Network(nn.Module):
    """A reader, and a cell that takes in what is read, image by image."""

    def __init__(self, p: SequentialMnist) -> None:
        super().__init__()
        self.p, self.reader = p, (Residual if p.images == "svhn" else Reader)(p.outputs)
        hidden = 10 if p.operation == "count" else 1
        self.cell = None if p.cell in ("solved", "none") else Cell(p.cell, p.outputs, hidden, p)

    def forward(self, x: Tensor) -> Tensor:
        """Return the results after each image of sequences (n, length, channels, height, width), (n, length, H)."""
        return self.reckon(self.reader(x.flatten(0, 1)).unflatten(0, x.shape[:2]))

    def reckon(self, read: Tensor) -> Tensor:
        """Return the results (n, length, H) of what was read, (n, length, outputs)."""
        if self.cell is None:
            return self._solved(read)
        state, results = self.cell.initial(len(read), read), []
        for step in range(read.shape[1]):
            state = self.cell(read[:, step], state)
            results.append(self.cell.output(state))
        return torch.stack(results, dim=1)

    def _solved(self, read: Tensor) -> Tensor:
        if self.p.cell == "none":
            return read
        match self.p.operation:
            case "sum":
                return read.cumsum(1)
            case "product":
                return read.cumprod(1)
            case _:
                return (1 / read).cumprod(1)


# --- training ---------------------------------------------------------------------------------------------------------


def train(run: Any) -> None:
    """Train one run."""
    p: SequentialMnist = run.params
    torch.set_num_threads(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    source = images.load(p.images)
    pixels = {name: torch.from_numpy(getattr(source, name).normalised()).to(device) for name in source._fields}
    parent = np.random.RandomState(p.seed)
    items = sequences(source.train.labels, p.digits, p.length, int(parent.randint(0, 2**32 - 1, dtype=np.int64)))
    results = torch.from_numpy(targets(source.train.labels[items], p.operation)).to(device)
    evaluation = list(_evaluation_sets(p, source))

    torch.manual_seed(p.seed)
    network = Network(p).to(device)
    optimiser = torch.optim.Adam(network.parameters(), lr=p.learning_rate)
    per_epoch = -(-len(items) // p.batch_size)
    step = 0
    if (state := run.restore()) is not None:
        step = state["step"]
        network.load_state_dict(state["network"])
        optimiser.load_state_dict(state["optimiser"])

    order = _order(p.seed, 0, len(items))
    while step < (p.epochs + 1) * per_epoch:
        epoch, place = divmod(step, per_epoch)
        if place == 0:
            order = _order(p.seed, epoch, len(items))
            run.checkpoint({"step": step, "network": network.state_dict(), "optimiser": optimiser.state_dict()})
        if place % STOP_EVERY == 0 and run.should_stop:
            return
        evaluated = place == 0 and epoch % p.evaluate_every == 0
        if evaluated:
            metrics = {"epoch": float(epoch)}
            for name, digits, cut, wanted in evaluation:
                metrics |= {f"metric/{name}/{m}": v for m, v in evaluate(network, pixels[digits], cut, wanted).items()}
            run.log(metrics | training.sparsity(network), step + 1)

        # The original counts steps from 1, and its schedules do.
        step += 1
        chosen = order[place * p.batch_size : (place + 1) * p.batch_size]
        x, t = pixels["train"][torch.from_numpy(items[chosen]).to(device)], results[torch.from_numpy(chosen).to(device)]
        network.train()
        y = network(x)
        criterion = functional.mse_loss(y, t)
        regulariser = cells.regulariser(network, p, training.scale(p, step))
        loss = criterion + regulariser
        if not torch.isfinite(loss):
            raise FloatingPointError(f"the loss is {float(loss)} at step {step}")
        if evaluated or step % p.log_interval == 0:
            run.log(
                {
                    "loss/train/critation": float(criterion.detach()),
                    "loss/train/regualizer": float(loss.detach() - criterion.detach()),
                    "loss/train/total": float(loss.detach()),
                    "loss/train/accuracy/all": float((y.round() == t).float().mean()),
                    "loss/train/accuracy/last": float((y[:, -1].round() == t[:, -1]).float().mean()),
                },
                step,
            )
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        cells.clamp(network)


def _order(seed: int, epoch: int, count: int) -> Indices:
    """Return the order of the sequences in an epoch: a function of the seed and the epoch, so that runs can resume."""
    return np.random.default_rng([seed, epoch]).permutation(count)


# --- evaluation -------------------------------------------------------------------------------------------------------


def _evaluation_sets(
    p: SequentialMnist, source: images.Sources
) -> Iterator[tuple[str, str, Indices, npt.NDArray[np.float32]]]:
    """Yield the name of each set, which images it is of, their places (n, length) and the results."""
    sets = [("train", "train", p.length, TRAIN_SEED), ("valid", "valid", p.length, VALID_SEED)]
    sets += [(f"test/extrapolation/{length}", "test", length, TEST_SEED) for length in p.test_lengths]
    for name, digits, length, seed in sets:
        labels = getattr(source, digits).labels
        cut = sequences(labels, p.digits, length, seed)
        if len(cut):
            yield name, digits, cut, targets(labels[cut], p.operation)


@torch.no_grad()
def evaluate(network: Network, pixels: Tensor, cut: Indices, wanted: npt.NDArray[np.float32]) -> dict[str, float]:
    """Return the squared error over all steps, and how often the rounded result is right, at all steps and the last.

    Every image is read once, however many sequences there are.
    """
    network.eval()
    read = torch.cat([network.reader(part) for part in torch.split(pixels, CHUNK)])
    y = network.reckon(read[torch.from_numpy(cut).to(pixels.device)])
    t = torch.from_numpy(wanted).to(pixels.device)
    right = (y.round() == t).double()
    return {
        "mse": float((y - t).double().square().mean()),
        "acc/all": float(right.mean()),
        "acc/last": float(right[:, -1].mean()),
    }
