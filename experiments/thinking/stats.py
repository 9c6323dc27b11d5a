"""What a run leaves in its folder, in the layout of the published code (spec §4.7).

::

    stats.json           of training: what was found during it
    testing/stats.json   of testing: what the weights that were asked for can do, by iteration
    test_stats.json      legacy nets: an entry for each number of iterations
    .hydra/config.yaml   the configuration, as the published test program reads it
    model_best.pth, model_.pth

Keys of JSON objects are texts: iterations are ``"30"`` (trap T17). In training statistics ``train_acc`` and ``val_acc``
are maps by iteration as in DT where the last test measured them, and otherwise, after quick tests, single numbers as in
delta (T12); the lists that delta adds are always there. ``run_id`` is a label (:mod:`.names`); ``id`` is the run's own.
``source`` tells trained nets apart: the id of the run, or the checkpoint that a run tested without training;
``trained`` is the same where nets were trained alike (:mod:`.alike`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.thinking import computation, names
from experiments.thinking.alike import trained
from experiments.thinking.params import Thinking, located

HARD_PUZZLES = 100_000

Entry = dict[str, Any]


def write(run: Any, results: Mapping[str, Any]) -> None:
    """Write a run's statistics into its folder; those of surrogate puzzles are marked ``surrogate: true``.

    Parameters
    ----------
    run
        The run: its parameters, id and folder.
    results
        ``train_acc``, ``val_acc`` (float or None: of the last epoch), ``train_accs``, ``val_accs``, ``test_accs`` (one
        entry for each periodic test), ``tested`` (the last of these: ``{"train_acc" | "val_acc" | "test_acc": by
        iteration, or None}``, or None), ``final`` (the same of the weights that were chosen), ``num_params``,
        ``which`` (``best`` or ``last``).
    """
    p: Thinking = run.params
    mark = {"surrogate": True} if p.surrogate else {}
    if results["tested"] is not None:
        _write(run.dir / "stats.json", training(p, run.id, results) | mark)
    _write(run.dir / "testing" / "stats.json", testing(p, run.id, run.dir, results) | mark)
    if p.legacy:
        for entry in legacy(p, results):
            append(run.dir / "test_stats.json", entry | mark)
    _write(run.dir / ".hydra" / "config.yaml", config(p, run.id))


def training(p: Thinking, run: str, results: Mapping[str, Any]) -> Entry:
    """Return the statistics of training."""
    tested = results["tested"]
    found = {key: results[key] if tested[key] is None else tested[key] for key in ("train_acc", "val_acc")}
    return {
        "max_iters": p.max_iters,
        "run_id": names.name(run),
        "test_acc": tested["test_acc"],
        "test_data": p.test_data,
        "test_iters": p.test_iterations,
        "test_mode": p.test_mode,
        "train_data": p.train_data,
        **found,
        "train_accs": results["train_accs"],
        "val_accs": results["val_accs"],
        "test_accs": results["test_accs"],
        "id": run,
    }


def testing(p: Thinking, run: str, folder: Path, results: Mapping[str, Any]) -> Entry:
    """Return the statistics of testing; null for what a quick test leaves out.

    A run that only tests reports how its checkpoint was trained (spec §4.5), as far as that says so.
    """
    weights = folder / ("model_best.pth" if results["which"] == "best" else "model_.pth")
    how = {name: getattr(p, name) for name in computation.HOW}
    source, alike = run, trained(p.model_dump())
    if p.model_path is not None and not p.epochs:
        weights = located(p.model_path).resolve()
        given = computation.read(weights).get("made_as", {})
        how = {name: given.get(name, value) for name, value in how.items()}
        source = alike = str(weights)
    return {
        "epochs": how["epochs"],
        "lr": how["lr"],
        "lr_factor": how["lr_factor"],
        "max_iters": p.max_iters,
        "model": f"{p.model}_width={p.width}",
        "model_path": str(weights),
        "num_params": results["num_params"],
        "optimizer": how["optimizer"],
        "val_acc": results["final"]["val_acc"],
        "run_id": names.name(run),
        "test_acc": results["final"]["test_acc"],
        "test_data": p.test_data,
        "test_iters": p.test_iterations,
        "test_mode": p.test_mode,
        "train_data": p.train_data,
        "train_acc": results["final"]["train_acc"],
        "train_batch_size": p.train_batch_size,
        "train_mode": how["train_mode"],
        "alpha": how["alpha"],
        "id": run,
        "source": source,
        "trained": alike,
    }


def legacy(p: Thinking, results: Mapping[str, Any]) -> list[Entry]:
    """Return an entry for each number of iterations.

    ``test_acc`` is what is held out of the easy samples, ``eval_acc`` the hard ones; mazes have no ``eval_acc``, and
    their ``test_acc`` is of the hard ones. −1 is for what a quick test leaves out.
    """
    final = results["final"]
    return [_legacy(p, results["num_params"], final, iteration) for iteration in final["test_acc"]]


def _legacy(p: Thinking, num_params: int, final: Mapping[str, Any], iteration: int) -> Entry:
    # The mode convergence has one number for each set, at an iteration of its own.
    train, val, hard = (
        -1 if final[key] is None else final[key].get(iteration, next(iter(final[key].values())))
        for key in ("train_acc", "val_acc", "test_acc")
    )
    start = p.test_data - (p.test_samples or min(HARD_PUZZLES, p.test_data - p.train_data))
    found = {
        "prefix_sums": {"eval_acc": hard, "test_acc": val},
        "mazes": {"test_acc": hard},
        "chess": {"eval_acc": hard, "eval_start": start, "eval_end": p.test_data, "test_acc": val},
    }[p.problem]
    return {
        "epochs": p.epochs,
        "learning rate": p.lr,
        "lr": p.lr,
        "lr_factor": p.lr_factor,
        "model": f"{p.model}_depth={p.depth}_width={p.width}",
        "num_params": num_params,
        "optimizer": p.optimizer,
        **found,
        "test_iter": int(iteration),
        "test_mode": p.test_mode,
        "train_acc": train,
        "train_batch_size": p.train_batch_size,
        "train_mode": p.train_mode,
    }


def append(path: Path, entry: Mapping[str, Any]) -> None:
    """Add an entry to a legacy file: ``{"0": …, "1": …, "num entries": 2}``."""
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"num entries": 0}
    count = found.pop("num entries")
    _write(path, {**found, str(count): entry, "num entries": count + 1})


def config(p: Thinking, run: str) -> Entry:
    """Return the configuration by the published names; JSON is YAML."""
    hyp = (
        "alpha", "clip", "epochs", "lr", "lr_decay", "lr_factor", "lr_schedule", "lr_throttle", "optimizer",
        "save_period", "test_batch_size", "test_mode", "train_batch_size", "train_mode", "val_period", "warmup_period",
        "weight_decay",
    )  # fmt: skip
    return {
        "problem": {
            "name": p.problem,
            "hyp": {name: getattr(p, name) for name in hyp} | {"weight_decay": p.decay},
            "model": {
                "model": p.model,
                "width": p.width,
                "max_iters": p.max_iters,
                "recall_relu": p.recall_relu,
                "model_path": p.model_path,
                "test_iterations": dict(zip(("low", "high"), p.test_range, strict=True)),
            },
            "train_data": p.train_data,
            "test_data": p.test_data,
        },
        "name": "training",
        "run_id": names.name(run),
        "seed": p.seed,
    }


def _write(path: Path, content: Mapping[str, Any]) -> None:
    """Write a file whole: a reader never meets half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.part")
    aside.write_text(json.dumps(content, indent=4), encoding="utf-8")
    aside.replace(path)
