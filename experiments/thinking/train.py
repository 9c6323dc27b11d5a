"""Train a net on easy problems, and test it on hard ones while it thinks longer. Read it from top to bottom.

*End-to-end Algorithm Synthesis with Recurrent Networks* (NeurIPS 2022), with the losses of its predecessor and of its
successor; :mod:`experiments.thinking.params` says which.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from experiments.thinking import computation, data, nets, optimisers, schedules, stats
from experiments.thinking.data.problem import Problem, Split
from experiments.thinking.decoding import predict, right
from experiments.thinking.evaluate import Result, evaluate
from experiments.thinking.losses import OBJECTIVES, Batch
from experiments.thinking.nets import Net
from experiments.thinking.params import Thinking, located
from orchestrator.errors import UserError

LOG = logging.getLogger(__name__)

Tested = dict[str, Result | None]
"""``train_acc``, ``val_acc`` and ``test_acc``, each by iteration; None where it was not asked for."""


class Work(NamedTuple):
    """What does not change in a run but by training."""

    run: Any
    p: Thinking
    problem: Problem
    net: Net
    optimiser: Optimizer


class Best(NamedTuple):
    """The weights that did best in validation; of equally good ones, the earliest."""

    accuracy: float = -1.0
    epoch: int = -1
    net: dict[str, Tensor] | None = None


def train(run: Any) -> None:
    """Train one run, and test what came of it."""
    p: Thinking = run.params
    if p.surrogate:
        LOG.warning("chess: surrogate puzzles, since neither data nor chess_csv is given; no published number compares")
    device = computation.prepare(p)
    problem = computation.on(data.load(p), device)
    torch.manual_seed(p.seed)
    net = nets.build(p)
    computation.place(net, p, device)
    work = Work(run, p, problem, net, optimisers.build(net, p))
    state = begin(work)

    while state["epoch"] < p.epochs:
        optimisers.set_rate(work.optimiser, schedules.factor(p, state["epoch"]))
        order = batches(p, state["epoch"], len(problem.train.targets), device)
        while state["batch"] < len(order):
            if told_to_stop(work, state):
                return
            update(work, state, order[state["batch"]], state["epoch"] * len(order) + state["batch"])
            state["batch"] += 1
        close(work, state, len(order))
        state |= {"epoch": state["epoch"] + 1, "batch": 0, "loss": 0.0, "right": 0}
    if not told_to_stop(work, state):
        finish(work, state)


def begin(work: Work) -> dict[str, Any]:
    """Return where the run stands: at a checkpoint of its own, at one of another run, or at its beginning."""
    p = work.p
    if (restored := work.run.restore()) is not None:
        state: dict[str, Any] = restored
        work.net.load_state_dict(state.pop("net"))
        work.optimiser.load_state_dict(state.pop("optimiser"))
        return state
    state = {"epoch": 0, "batch": 0, "loss": 0.0, "right": 0, "best": Best(), "train_acc": None, "val_acc": None}
    state |= {"train_accs": [], "val_accs": [], "test_accs": [], "tested": None}
    if p.model_path is not None:
        path = located(p.model_path)
        if path.is_dir():
            raise UserError(f"model_path {path} is a folder: give a file, such as {path / 'model_best.pth'}")
        given = computation.load(path, work.net, p)
        state["epoch"] = int(given.get("epoch", -1)) + 1
        if state["epoch"] < p.epochs:
            take_over(work.optimiser, given, p.optimizer)
            state["best"] = Best(validate(work), state["epoch"] - 1, computation.weights(work.net))
    return state


def take_over(optimiser: Optimizer, given: Mapping[str, Any], name: str) -> None:
    """Go on with the moments of a checkpoint, if they are this optimiser's, and with the settings of this run.

    Raises
    ------
    UserError
        If the checkpoint's optimiser divides the weights otherwise.
    """
    if given.get("optimizer_name") != name:
        return
    own = [{key: value for key, value in group.items() if key != "params"} for group in optimiser.param_groups]
    sizes = [
        [len(group["params"]) for group in groups]
        for groups in (given["optimizer"]["param_groups"], optimiser.param_groups)
    ]
    if sizes[0] != sizes[1]:
        raise UserError(
            f"the optimiser in the checkpoint model_path divides the weights into groups of {sizes[0]}, and this run"
            f" into groups of {sizes[1]}: set lr_throttle as the checkpoint's run had it"
        )
    optimiser.load_state_dict(given["optimizer"])
    for group, settings in zip(optimiser.param_groups, own, strict=True):
        group.update(settings)


def told_to_stop(work: Work, state: dict[str, Any]) -> bool:
    """Keep where the run stands, and return whether it is to stop."""
    work.run.checkpoint(state | {"net": work.net.state_dict(), "optimiser": work.optimiser.state_dict()})
    return bool(work.run.should_stop)


# --- an update --------------------------------------------------------------------------------------------------------


def batches(p: Thinking, epoch: int, samples: int, device: torch.device) -> list[Tensor]:
    """Return the places of an epoch's samples, batch by batch: a function of the seed and the epoch.

    What is too little for a batch is left out.

    Raises
    ------
    UserError
        If there are too few for a single one.
    """
    count = samples // p.train_batch_size
    if not count:
        raise UserError(
            f"there are {samples} training samples, fewer than train_batch_size ({p.train_batch_size}): make it smaller"
        )
    count = min(count, p.train_batches) if p.train_batches else count
    order = np.random.default_rng([p.seed, epoch]).permutation(samples) if p.shuffle else np.arange(samples)
    rows = order[: count * p.train_batch_size].reshape(count, p.train_batch_size)
    return list(torch.from_numpy(rows).to(device))


def update(work: Work, state: dict[str, Any], rows: Tensor, step: int) -> None:
    """Make one step: objective, gradient, clipping, optimiser."""
    p, net, problem, optimiser = work.p, work.net, work.problem, work.optimiser
    inputs, targets = problem.train.inputs[rows], problem.train.targets[rows]
    mask = problem.mask(inputs) if problem.mask else None
    batch = Batch(problem.encode(inputs), targets.float(), mask)
    # Of the step alone, so that runs can resume. Zeros at the end do not count: an epoch's first batch draws from the
    # beginning of the stream that ordered the epoch, which does no harm and is kept, since results depend on it.
    drawn = np.random.default_rng([p.seed, state["epoch"], state["batch"]])

    net.train()
    optimisers.clear(optimiser, zero=p.zero_gradients)
    with computation.precision(p, rows.device):
        objective = OBJECTIVES[p.train_mode](net, batch, p, drawn)
    if not torch.isfinite(objective.loss):
        raise FloatingPointError(f"the loss is {float(objective.loss.detach())} at step {step}")
    objective.loss.backward()  # type: ignore[no-untyped-call]
    noted = gradient(net) if p.log_batches else {}
    if p.clip is not None:
        nn.utils.clip_grad_norm_(net.parameters(), p.clip)
    optimiser.step()

    state["loss"] += float(objective.reported)
    state["right"] += int(right(predict(p.problem, objective.readout, mask), targets).sum())
    if p.log_batches:
        noted |= {"batch_loss": float(objective.loss.detach())}
        noted |= {tag: float(value) for tag, value in objective.parts.items()}
        noted |= {f"batch_lr/group{i}": group["lr"] for i, group in enumerate(optimiser.param_groups)}
        work.run.log(noted, step)


def gradient(net: Net) -> dict[str, float]:
    """Return the norm of the gradient before clipping, and its largest entry with its sign, but not below 0."""
    found = [weight.grad for weight in net.parameters() if weight.grad is not None]
    norm = nn.utils.get_total_norm(found)
    return {"grad_norm": float(norm), "grad_max": max([0.0, *(float(grad.max()) for grad in found)])}


# --- the end of an epoch ----------------------------------------------------------------------------------------------


def close(work: Work, state: dict[str, Any], count: int) -> None:
    """Validate after T iterations, remember what is best, test from time to time, and record it all by epochs."""
    p, epoch, last = work.p, state["epoch"], state["epoch"] + 1 == work.p.epochs
    accuracy = 100 * state["right"] / (count * p.train_batch_size)
    validation = validate(work)
    better = validation > state["best"].accuracy
    if better:
        state["best"] = Best(validation, epoch, computation.weights(work.net))
    state |= {"train_acc": accuracy, "val_acc": validation}
    seen = {"Loss/loss": state["loss"] / count, "Accuracy/acc": accuracy, "Accuracy/val_acc": validation}
    seen |= {f"Learning_rate/group{i}": group["lr"] for i, group in enumerate(work.optimiser.param_groups)}
    if last or (epoch + 1) % p.val_period == 0:
        tested = test(work)
        state["tested"] = tested
        state["train_accs"].append(accuracy)
        state["val_accs"].append(validation)
        state["test_accs"].append(tested["test_acc"])
        seen |= summary(tested, p.max_iters)
    work.run.log(seen, epoch)
    if better or p.save_period == -1 or (p.save_period and (epoch + 1) % p.save_period == 0):
        save(work, "model_best.pth" if better else "model_.pth", computation.weights(work.net), epoch)


def validate(work: Work) -> float:
    """Return the percentage of validation samples that are solved after T iterations.

    ``max_conf`` chooses among them as it does in testing; modes that give no such number leave it to the last one.
    """
    p = work.p
    mode = p.test_mode if p.test_mode.startswith("max_conf") else "default"
    found = measured(work, work.problem.val, mode, [p.max_iters])[p.max_iters]
    assert isinstance(found, float)
    return found


def test(work: Work) -> Tested:
    """Test hard samples, and those of training and validation unless the test is a quick one."""
    p, problem = work.p, work.problem
    easy = {"train_acc": problem.train, "val_acc": problem.val}
    found: Tested = {
        key: None if p.quick_test else measured(work, split, p.test_mode, p.test_iterations)
        for key, split in easy.items()
    }
    return found | {"test_acc": measured(work, problem.test, p.test_mode, p.test_iterations)}


def measured(work: Work, split: Split, mode: str, iterations: list[int]) -> Result:
    """Test a net on a split."""
    p = work.p
    work.net.eval()
    with computation.precision(p, split.targets.device):
        return evaluate(work.net, p.problem, work.problem, split, mode, iterations, p.test_batch_size)


def summary(tested: Tested, iterations: int) -> dict[str, float]:
    """Return what TensorBoard shows of a test: accuracies at the most iterations, at T, and the best of all."""
    seen: dict[str, float] = {}
    for key, result in tested.items():
        found = numbers(result)
        if found:
            seen[f"val/{key}"] = found[max(found)]
        if found and key == "test_acc":
            seen["val/test_acc_max"] = max(found.values())
            if iterations in found:
                seen["val/test_acc_max_iters"] = found[iterations]
    return seen


def numbers(result: Result | None) -> dict[int, float]:
    """Return the accuracies of a test; those of bits have no single number."""
    return {iteration: value for iteration, value in (result or {}).items() if isinstance(value, float)}


# --- the end ----------------------------------------------------------------------------------------------------------


def finish(work: Work, state: dict[str, Any]) -> None:
    """Test the weights that are asked for, and write everything down."""
    run, p, best, last = work.run, work.p, state["best"], state["epoch"] - 1
    save(work, "model_.pth", computation.weights(work.net), last)
    if best.net is not None and not (run.dir / "model_best.pth").exists():  # an earlier attempt's, in another folder
        save(work, "model_best.pth", best.net, best.epoch, optimiser=False)
    which = p.which if best.net is not None else "last"
    chosen = best.epoch if which == "best" else last
    if chosen != last:
        work.net.load_state_dict(best.net)
    final = state["tested"] if chosen == last and state["tested"] is not None else test(work)
    for key, result in final.items():
        for iteration, value in numbers(result).items():
            run.log({f"final/{key}": value}, iteration)
    results = {key: state[key] for key in ("train_acc", "val_acc", "train_accs", "val_accs", "test_accs", "tested")}
    results |= {
        "num_params": sum(weight.numel() for weight in work.net.parameters()),
        "epoch": last,
        "best_epoch": best.epoch,
        "best_val_acc": best.accuracy,
        "which": which,
        "final": final,
        "final_epoch": chosen,
    }
    stats.write(run, results)


def save(work: Work, name: str, net: dict[str, Tensor], epoch: int, *, optimiser: bool = True) -> None:
    """Write a checkpoint into the run's folder; the optimiser belongs to the weights as they are now."""
    content: dict[str, Any] = {"net": net, "epoch": epoch, "made_as": computation.made_as(work.p)}
    if optimiser:
        content |= {"optimizer": work.optimiser.state_dict(), "optimizer_name": work.p.optimizer}
    computation.save(work.run.dir / name, content)
