"""Command lines of the papers' code, read into our parameters, and the names that its runs have.

::

    python -m experiments.arithmetic.original single_layer --layer-type RealNPU --operation div --regualizer-l1 ...
    python -m experiments.arithmetic.original simple_function_static --layer-type NAC --nac-mul normal ...

prints the grid of that one run, below a comment with the name of its TensorBoard folder. ``single_layer`` is the script
of the division paper, ``simple_function_static`` that of *Neural Arithmetic Units*.
"""

from __future__ import annotations

import argparse
import ast
import io
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.arithmetic.layers import ALIASES, IDENTITY, OPTIONS, SPARSE, VARIANTS, ActivationName, LayerName
from experiments.arithmetic.params import SingleLayer
from experiments.arithmetic.two_layer import TwoLayer
from orchestrator.errors import UserError, nearest
from orchestrator.experiment import flatten, nest

ACTIVATIONS = frozenset(ActivationName.__args__) | {"linear"}  # type: ignore[attr-defined]
MODULES = ACTIVATIONS | set(LayerName.__args__)  # type: ignore[attr-defined]

Named = tuple[str, Mapping[str, Mapping[str, str]]]
"""Our name of a module, and the options that make it the original's, by group."""

RANGES = (
    ([-20, -10], [-40, -20]),
    ([-2, -1], [-6, -2]),
    ([-1.2, -1.1], [-6.1, -1.2]),
    ([-0.2, -0.1], [-2, -0.2]),
    ([-2, 2], [[-6, -2], [2, 6]]),
    ([0.1, 0.2], [0.2, 2]),
    ([1, 2], [2, 6]),
    ([1.1, 1.2], [1.2, 6]),
    ([10, 20], [20, 40]),
)
"""Training and test range of each data set, in the order of the job scripts."""


def array_task(number: int) -> tuple[int, int]:
    """Return seed and data set of a task of the papers' job arrays: the data set varies fastest."""
    return divmod(number, len(RANGES))


# --- reading ----------------------------------------------------------------------------------------------------------

_TEXT = {
    "layer-type": "NALU", "operation": "add", "first-layer": None, "nac-mul": "none", "oob-mode": "clip",
    "regualizer-scaling": "linear", "regualizer-shape": "linear", "nalu-mul": "normal", "nalu-gate": "normal",
    "nac-weight": "normal", "optimizer": "adam", "name-prefix": "simple_function_static", "reg-scale-type": "heim",
    "npu-clip": "none", "npu-Wr-init": "xavier-uniform", "train-criterion": "mse", "nru-div-mode": "div",
    "realnpu-reg-type": "W",
}  # fmt: skip
_WHOLE = {
    "num-subsets": 2, "max-iterations": 100_000, "batch-size": 128, "seed": 0, "input-size": 2, "output-size": 1,
    "hidden-size": 2, "regualizer-scaling-start": 1_000_000, "regualizer-scaling-end": 2_000_000,
    "regualizer-beta-step": 10_000, "regualizer-beta-growth": 10, "regualizer-npu-w": 0, "regualizer-gate": 0,
    "pytorch-precision": 32, "pcc2mse-iteration": 25_000, "log-interval": 1000, "lp-norm": 1, "id": -1,
    "reinit-epoch-interval": 10, "reinit-max-stored-losses": 5000,
}  # fmt: skip
_REAL = {
    # Defaults that the original writes as whole numbers are kept so: its run names show the difference.
    "regualizer": 10, "regualizer-z": 0, "regualizer-oob": 1, "subset-ratio": 0.5, "overlap-ratio": 0.0,
    "mnac-epsilon": 0, "learning-rate": 1e-3, "momentum": 0.0, "regualizer-beta-start": 1e-5,
    "regualizer-beta-end": 1e-4, "clip-grad-norm": None, "clip-grad-value": None, "reinit-loss-thr": 1.0,
}  # fmt: skip
_FLAGS = (
    "simple", "nalu-bias", "nalu-two-nac", "nalu-two-gate", "no-cuda", "remove-existing-data", "verbose",
    "regualizer-l1", "nmu-noise", "nau-noise", "no-save", "load-checkpoint", "trash-cell", "beta-nau", "reinit",
)  # fmt: skip
_LISTS = {"interpolation-range": [1, 2], "extrapolation-range": [2, 6], "noise-range": [1, 5]}


def read(script: str, words: Sequence[str]) -> argparse.Namespace:
    """Read the words of a command line as the original does, defaults included."""
    parser = argparse.ArgumentParser(prog=script, allow_abbrev=False)
    tables: list[tuple[dict[str, Any], Any]] = [(_TEXT, str), (_WHOLE, int), (_REAL, float), (_LISTS, ast.literal_eval)]
    for options, kind in tables:
        for name, default in options.items():
            parser.add_argument(f"--{name}", type=kind, default=default)
    for name in _FLAGS:
        parser.add_argument(f"--{name}", action="store_true")
    parser.add_argument("--sample-distribution", nargs="+", default=["uniform"])
    if script == "simple_function_static":
        parser.set_defaults(
            input_size=100, subset_ratio=0.25, overlap_ratio=0.5, max_iterations=100_000, pcc2mse_iteration=750_000
        )
    return parser.parse_args(words)


# --- our parameters ---------------------------------------------------------------------------------------------------


def parameters(script: str, words: Sequence[str]) -> dict[str, Any]:
    """Return the parameters of the run that a command line starts, as a grid spells them.

    Raises
    ------
    UserError
        If there is no such module, or if the line asks for what no grid can say.
    """
    a = read(script, words)
    modules = _single_layer(a) if script == "single_layer" else _two_layer(a)
    chosen: dict[str, Any] = {place: layer for place, (layer, _) in modules.items()}
    layers = set(chosen.values())
    if script != "single_layer":
        chosen |= {"hidden_size": a.hidden_size, "simple": a.simple}
    size = int(a.subset_ratio * a.input_size)
    chosen |= {
        "operation": a.operation,
        "input_size": a.input_size,
        "subsets": a.num_subsets,
        "subset_size": size,
        "subset_overlap": int(a.overlap_ratio * size),
        "interpolation": a.interpolation_range,
        "extrapolation": a.extrapolation_range,
        "distribution": _distribution(a.sample_distribution),
        "seed": a.seed,
        "batch_size": a.batch_size,
        "max_iterations": a.max_iterations,
        "log_interval": a.log_interval,
        "log_weights": a.verbose,
        "stream": "legacy",
        "optimiser": a.optimizer,
        "learning_rate": a.learning_rate,
        "momentum": a.momentum if a.optimizer == "sgd" else 0.0,
        "criterion": a.train_criterion,
        "mse_from": a.pcc2mse_iteration,
        "clip_grad_norm": a.clip_grad_norm,
        "clip_grad_value": a.clip_grad_value,
        "bounds": {
            "mode": "clip" if a.oob_mode == "clip" else "regularised",
            "weight": a.regualizer_oob,
            "lowest": a.mnac_epsilon,
        },
        "nac": {"weights": "plain" if a.nac_weight == "normal" else a.nac_weight, "log": _log(a.nac_mul)},
    }
    begins = 0 if a.regualizer_scaling == "exp" else a.regualizer_scaling_start
    if layers & SPARSE and a.regualizer and a.regualizer_shape != "none" and begins < a.max_iterations:
        chosen["regulariser"] = {
            "weight": a.regualizer,
            "start": a.regualizer_scaling_start,
            "end": a.regualizer_scaling_end,
            "scale": "ramp" if a.regualizer_scaling == "linear" else "exponential",
            "shape": a.regualizer_shape,
        }
    if layers & IDENTITY and a.regualizer_z:
        chosen["identity"] = {"weight": a.regualizer_z}
    if a.reinit:
        chosen["reinit"] = {
            "every": a.reinit_epoch_interval,
            "history": a.reinit_max_stored_losses,
            "threshold": a.reinit_loss_thr,
        }
    _penalties(a, layers, chosen)
    _options(a, layers, chosen)
    for group, option in _variant(list(modules.values())).items():
        chosen[group] = chosen.get(group, {}) | option
    return {name: value for name, value in chosen.items() if value is not None}


def _module(name: str) -> Named:
    """Return our module of an original name."""
    if name in VARIANTS:
        layer, group, option = VARIANTS[name]
        return layer, {group: option}
    if (layer := ALIASES.get(name, name)) not in MODULES:
        raise UserError(f"there is no module {name}.{nearest(name, [*ALIASES, *VARIANTS, *MODULES])}")
    return layer, {}


def _unsquashed(module: Named) -> Named:
    """Return the module that makes an output: none with an activation."""
    return ("linear", {}) if module[0] in ACTIVATIONS else module


def _single_layer(a: argparse.Namespace) -> dict[str, Named]:
    if a.simple:
        raise UserError("--simple is a task for two layers: read the line as one of simple_function_static")
    return {"layer": _unsquashed(_module(a.layer_type))}


def _two_layer(a: argparse.Namespace) -> dict[str, Named]:
    """Return the two modules: the second follows from ``--nac-mul``; ``MNAC`` is the σ-NMU here (trap T18)."""

    def named(name: str) -> Named:
        return ("sigma-nmu", {}) if name == "MNAC" else _module(name)

    match a.nac_mul:
        case "mnac":
            second = named(a.layer_type[:-3] + "MNAC")
        case "npu" | "real-npu":
            second = _module(a.nac_mul)
        case "normal" | "safe" | "max-safe":
            layer, option = _module(a.layer_type)
            second = {"nac": "nac-mul", "nac-sigma": "nac-sigma", "nac-nmu": "nac-nmu"}.get(layer, ""), option
            if not second[0]:
                raise UserError(f"--nac-mul {a.nac_mul} makes a product of a NAC's sum, and {a.layer_type} is no NAC")
        case _:
            second = named(a.layer_type)
    return {"first_layer": named(a.first_layer or a.layer_type), "second_layer": _unsquashed(second)}


def _variant(modules: Sequence[Named]) -> dict[str, Mapping[str, str]]:
    """Return the options that make the modules the original's: a grid has one of each for all layers."""
    merged = {group: option for _, options in modules for group, option in options.items()}
    for group, option in merged.items():
        for layer, own in modules:
            if layer in OPTIONS[group] and own.get(group) != option:
                raise UserError(f"a grid has one group {group} for both layers, and these two differ in it")
    return merged


def _log(nac_mul: str) -> str:
    return nac_mul if nac_mul in ("safe", "max-safe") else "plain"


def _distribution(words: Sequence[str]) -> dict[str, Any]:
    kind, *numbers = words
    names = {"truncated-normal": ["mean", "std", "test_mean", "test_std"], "exponential": ["scale"]}.get(kind, [])
    return {"kind": kind} | dict(zip(names, map(float, numbers), strict=True))


def _penalties(a: argparse.Namespace, layers: set[Any], chosen: dict[str, Any]) -> None:
    scheduled = a.reg_scale_type == "heim" and (a.regualizer_npu_w or a.regualizer_gate)
    if a.regualizer_l1 or scheduled:
        chosen["l1"] = {
            "start": a.regualizer_beta_start,
            "end": a.regualizer_beta_end,
            "step": a.regualizer_beta_step,
            "growth": a.regualizer_beta_growth,
            "norm": a.lp_norm if a.regualizer_l1 else 0,
        }
    if layers & {"npu", "real-npu", "nmru-gated", "mul-mcfc-real-npu"}:
        chosen["npu"] = {"clip": a.npu_clip, "init": a.npu_Wr_init}
        if a.regualizer_npu_w or a.regualizer_gate:
            chosen["npu"]["regulariser"] = {
                "gate": a.regualizer_gate,
                "values": "-1,1" if a.realnpu_reg_type == "W" else "-1,0,1",
                "scale": "beta" if a.reg_scale_type == "heim" else "ramp",
                "start": a.regualizer_scaling_start,
                "end": a.regualizer_scaling_end,
            }
            if layers & {"npu", "real-npu"}:  # others have gates alone
                chosen["npu"]["regulariser"]["weights"] = a.regualizer_npu_w


def _options(a: argparse.Namespace, layers: set[Any], chosen: dict[str, Any]) -> None:
    if layers & {"nalu", "nalu-sigma", "nalu-nau"}:
        chosen["nalu"] = {
            "weights": "separate" if a.nalu_two_nac else "shared",
            "gates": "two" if a.nalu_two_gate else "one",
            "bias": a.nalu_bias,
            "multiplication": {"normal": "log", "mnac": "nmu"}.get(a.nalu_mul, a.nalu_mul),
            "gate": {"normal": "plain", "regualized": "regularised", "obs-gumbel": "gumbel-per-row"}.get(
                a.nalu_gate, a.nalu_gate
            ),
        }
    if "nru" in layers:
        signs = "separate" if a.nru_div_mode == "div-sepSign" else "together"
        chosen["nru"] = {"signs": signs, "trash": a.trash_cell}
    if layers & {"nau", "nru"}:
        chosen["nau"] = {"init": "beta" if a.beta_nau else "uniform", "noise": a.nau_noise and "nau" in layers}
    if a.nmu_noise and layers & {"nmu", "nmru", "nmru-unsigned", "nmru-gated"}:
        chosen["nmu"] = {"noise": a.noise_range}


# --- the original's names ---------------------------------------------------------------------------------------------


def run_name(script: str, words: Sequence[str]) -> str:
    """Return the name of the run's TensorBoard folder, whose parts the original's analysis reads by their place."""
    a = read(script, words)
    name = f"{a.layer_type.lower()}{_suffix(script, a)}"
    size = "simple" if a.simple else f"{a.input_size}-{a.subset_ratio}-{a.overlap_ratio}"
    parts = [
        name,
        f"op-{a.operation.lower()}",
        f"oob-{'c' if a.oob_mode == 'clip' else 'r'}",
        f"rs-{a.regualizer_scaling}-{a.regualizer_shape}",
        f"eps-{a.mnac_epsilon}",
        f"rl-{a.regualizer_scaling_start}-{a.regualizer_scaling_end}",
        f"r-{a.regualizer}-{a.regualizer_z}-{a.regualizer_oob}",
        f"i-{a.interpolation_range[0]}-{a.interpolation_range[1]}",
        f"e-{a.extrapolation_range[0]}-{a.extrapolation_range[1]}",
        f"z-{size}",
        f"b{a.batch_size}",
        f"s{a.seed}",
        f"h{a.hidden_size}",
        f"z{a.num_subsets}",
        f"lr-{a.optimizer}-{a.learning_rate:.5f}-{a.momentum}",
    ]
    if script == "single_layer":
        parts += [
            _distribution_name(a.sample_distribution),
            f"n-{a.noise_range[0]}-{a.noise_range[1]}",
            f"L1{'T' if a.regualizer_l1 else 'F'}",
            f"rb-{a.regualizer_beta_start}-{a.regualizer_beta_end}-{a.regualizer_beta_step}-{a.regualizer_beta_growth}",
            f"rWnpu-{a.regualizer_npu_w}-{a.realnpu_reg_type[0]}",
            f"rg-{a.regualizer_gate}",
            f"r{'H' if a.reg_scale_type == 'heim' else 'M'}",
            f"clip-{'n' if a.npu_clip == 'none' else a.npu_clip}",
            f"WrI-{'xu' if a.npu_Wr_init == 'xavier-uniform' else 'xuc'}",
            f"nM{'T' if a.nmu_noise else 'F'}",
            f"gn-{'F' if a.clip_grad_norm is None else a.clip_grad_norm}",
            a.train_criterion
            + (f"-{a.pcc2mse_iteration}" if a.train_criterion == "pcc-mse" else "")
            + ("-TC" if a.trash_cell else ""),
        ]
    return "_".join(parts)


_MUL = {"safe": "s", "max-safe": "s", "trig": "t", "mnac": "m"}
_GATE = {"regualized": "r", "gumbel": "u", "obs-gumbel": "uu"}


def _suffix(script: str, a: argparse.Namespace) -> str:
    flags = [
        ("b", a.nalu_bias), ("2n", a.nalu_two_nac), ("2g", a.nalu_two_gate),
        (_MUL.get(a.nalu_mul, ""), True), (_GATE.get(a.nalu_gate, ""), True),
    ]  # fmt: skip
    given = [flag for flag, there in flags if there and flag]
    if script == "single_layer":
        if a.layer_type == "NRU" and a.nru_div_mode == "div-sepSign":
            return "-sS"
        return "".join(f"-{flag}" for flag in given) if a.layer_type == "NALU" else ""
    nac = {"normal": "n", "npu": "npu", "real-npu": "npur"}.get(a.nac_mul) or _MUL.get(a.nac_mul, "")
    return (f"-nac-{nac}" if nac else "") + (f"-nalu-{''.join(given)}" if given else "")


def _distribution_name(words: Sequence[str]) -> str:
    kind, *numbers = words
    match kind:
        case "truncated-normal":
            return "D-tn-" + "-".join(str(int(float(number))) for number in numbers)
        case "exponential":
            return f"D-e-{float(numbers[0])}"
        case _:
            return f"D-{kind[0]}"


# --- the command ------------------------------------------------------------------------------------------------------


def grid(script: str, words: Sequence[str]) -> str:
    """Return the grid of the one run that a command line starts; what equals our defaults is left out."""
    from pydantic import ValidationError
    from ruamel.yaml import YAML

    experiment, params = (
        ("two_layer", TwoLayer) if script == "simple_function_static" else ("single_layer", SingleLayer)
    )
    try:
        given = params.model_validate(parameters(script, words))
    except ValidationError as error:
        faults = [": ".join(filter(None, [".".join(map(str, one["loc"])), one["msg"]])) for one in error.errors()]
        raise UserError("; ".join(faults)) from None
    plain, default = flatten(given), flatten(params())
    changed = nest({path: value for path, value in plain.items() if path not in default or default[path] != value})
    text = io.StringIO()
    YAML().dump({"study": "original", "experiment": f"arithmetic.{experiment}", "set": changed}, text)
    return f"# {run_name(script, words)}\n{text.getvalue()}"


def main(words: Sequence[str]) -> None:
    """Print the grid of a command line of the original."""
    import click

    if not words or words[0] not in ("single_layer", "simple_function_static"):
        click.echo(__doc__)
        raise SystemExit(2)
    try:
        click.echo(grid(words[0], words[1:]), nl=False)
    except UserError as error:
        raise SystemExit(f"{words[0]}: {error}") from None


if __name__ == "__main__":
    main(sys.argv[1:])
