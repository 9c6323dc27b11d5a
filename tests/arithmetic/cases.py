"""Every module with every option, and what they can learn: for the tests of modules, training and lanes."""

from __future__ import annotations

RAMP = {"start": 10, "end": 30}
SQUARED = RAMP | {"shape": "squared"}
OOB = {"bounds": {"mode": "regularised"}}
NPU_RAMP = {"regulariser": RAMP}

CASES = {
    "linear": {"layer": "linear"},
    "nac": {"layer": "nac", "identity": {}},
    "nac golden": {"layer": "nac", "nac": {"weights": "golden-ratio"}},
    "nac independent": {"layer": "nac", "nac": {"weights": "independent"}, "identity": {}},
    "nac softmax": {"layer": "nac", "nac": {"weights": "softmax"}},
    "nac linear": {"layer": "nac", "nac": {"weights": "linear"}},
    "nac-mul": {"layer": "nac-mul", "identity": {}},
    "nac-mul safe": {"layer": "nac-mul", "nac": {"log": "safe"}},
    "nac-mul max-safe": {"layer": "nac-mul", "nac": {"log": "max-safe"}, "identity": {}},
    "nac-sigma": {"layer": "nac-sigma"},
    "nac-nmu": {"layer": "nac-nmu", "regulariser": RAMP, "identity": {}},
    "nac-nmu oob": {"layer": "nac-nmu", "regulariser": SQUARED} | OOB,
    "nalu": {"layer": "nalu", "identity": {}},
    "nalu separate": {"layer": "nalu", "nalu": {"weights": "separate"}, "identity": {}},
    "nalu safe": {"layer": "nalu", "nalu": {"multiplication": "safe"}},
    "nalu trig": {"layer": "nalu", "nalu": {"multiplication": "trig"}},
    "nalu nmu": {"layer": "nalu", "nalu": {"multiplication": "nmu", "weights": "separate"}},
    "nalu two gates": {"layer": "nalu", "nalu": {"gates": "two", "bias": True, "gate": "regularised"}},
    "nalu bias": {"layer": "nalu", "nalu": {"bias": True}},
    "nalu gumbel": {"layer": "nalu", "nalu": {"gate": "gumbel", "gates": "two"}},
    "nalu gumbel rows": {"layer": "nalu", "nalu": {"gate": "gumbel-per-row"}},
    "g-nalu": {
        "layer": "nalu",
        "nalu": {"gate": "golden-ratio", "multiplication": "golden-ratio"},
        "nac": {"weights": "golden-ratio"},
    },
    "nalu-sigma": {"layer": "nalu-sigma"},
    "nalu-nau": {"layer": "nalu-nau", "nalu": {"weights": "separate", "multiplication": "nmu"}, "regulariser": RAMP},
    "inalu": {"layer": "inalu", "clip_grad_value": 0.1},
    "nau": {"layer": "nau", "regulariser": RAMP, "identity": {}},
    "nau squared": {"layer": "nau", "regulariser": SQUARED},
    "nau oob": {"layer": "nau", "regulariser": SQUARED} | OOB,
    "nau noise": {"layer": "nau", "nau": {"noise": True}, "identity": {}},
    "nau beta": {"layer": "nau", "nau": {"init": "beta"}},
    "nmu": {"layer": "nmu", "regulariser": RAMP, "identity": {}},
    "nmu squared": {"layer": "nmu", "regulariser": SQUARED},
    "nmu oob": {"layer": "nmu", "regulariser": RAMP, "bounds": {"mode": "regularised", "lowest": 0.1}},
    "nmu lowest": {"layer": "nmu", "bounds": {"lowest": 0.01}},
    "nmu noise": {"layer": "nmu", "nmu": {"noise": [1, 5]}, "identity": {}},
    "nmu plain": {"layer": "nmu", "nmu": {"factor": "plain"}},
    "nmu normalised": {"layer": "nmu", "nmu": {"normalised": True}},
    "sigma-nmu": {"layer": "sigma-nmu"},
    "npu": {"layer": "npu", "npu": {"clip": "wg"} | NPU_RAMP},
    "npu wig": {"layer": "npu", "npu": {"clip": "wig"} | NPU_RAMP},
    "real-npu": {"layer": "real-npu"},
    "real-npu g": {"layer": "real-npu", "npu": {"clip": "g"}},
    "real-npu w": {"layer": "real-npu", "npu": {"clip": "w"} | NPU_RAMP},
    "real-npu wg": {
        "layer": "real-npu",
        "npu": {"clip": "wg", "init": "xavier-uniform-constrained", "regulariser": RAMP | {"values": "-1,0,1"}},
    },
    "nru": {"layer": "nru", "regulariser": RAMP, "identity": {}},
    "nru separate": {"layer": "nru", "nru": {"signs": "separate"}},
    "nru trash": {"layer": "nru", "nru": {"trash": True}},
    "nru oob": {"layer": "nru", "regulariser": RAMP, "bounds": {"mode": "regularised", "lowest": 0.1}},
    "nmru": {"layer": "nmru", "regulariser": RAMP, "identity": {}, "clip_grad_norm": 1.0},
    "nmru noise": {"layer": "nmru", "nmu": {"noise": [1, 5]}},
    "nmru-unsigned": {"layer": "nmru-unsigned", "regulariser": RAMP, "identity": {}},
    "nmru-gated": {"layer": "nmru-gated", "npu": NPU_RAMP},
    "mcfc": {"layer": "mcfc", "regulariser": RAMP},
    "mul-mcfc": {"layer": "mul-mcfc", "regulariser": RAMP},
    "mul-mcfc-inalu": {"layer": "mul-mcfc-inalu", "regulariser": RAMP},
    "mul-mcfc-real-npu": {"layer": "mul-mcfc-real-npu", "regulariser": RAMP, "npu": NPU_RAMP},
}
"""Parameters by name."""

POSITIVE = frozenset({"mul-mcfc"})
"""Layers that take the logarithm of their inputs as they are."""
