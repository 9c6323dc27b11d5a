#!/bin/bash
# Trains study demo as `orch submit` would: sbatch launch.sh. To launch it twice is harmless.
# Printed by `orch script`; what its elements are told, and the grid, stand at the end.

# Parameters
#SBATCH --array=0-3
#SBATCH --cpus-per-task=1
#SBATCH --job-name=orch-demo
#SBATCH --kill-on-invalid-dep=no
#SBATCH --mem=2048M
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --open-mode=append
#SBATCH --output=orch-demo.log
#SBATCH --requeue
#SBATCH --signal=B:USR2@240
#SBATCH --time=40

# setup
trap '' USR2

# command
export SUBMITIT_EXECUTOR=slurm
cd "${SLURM_SUBMIT_DIR:-${LS_SUBCWD:-.}}"
exec "${ORCH_PYTHON:-.venv/bin/python}" -c 'import importlib, sys
sys.path = [sys.argv[1], *filter(None, sys.path)]
module, _, function = sys.argv[2].partition(":")
sys.argv[:3] = [module]
sys.exit(getattr(importlib.import_module(module), function)(sys.argv[1:]))
' "$PWD" orchestrator.launch:main '{"study": "demo", "root": "runs", "cluster": "slurm", "kind": "slurm", "elements": 4, "resources": {"memory": "2G", "time": "40m", "cluster": "slurm"}}' <<'END_OF_GRID'
# Which neural modules learn to divide, and on which inputs?
#
# A small version of Figure 3 of "Learning Division with Neural Arithmetic Logic Modules" (arXiv 2110.05177): a single
# module with two inputs learns x1 / x2 on one of nine ranges, and is tested on inputs outside of it. The paper's figure
# shows, for each range, the share of seeds for which the test error falls below 1e-5: the Real NPU as it was published
# depends heavily on the range, its modified form solves all but the range around zero, NRU and NMRU solve nearly all.
#
# 4 models x 9 ranges x 5 seeds = 180 runs of 50,000 iterations: minutes on a laptop. Run one by one with ordinary
# PyTorch code they take hours. The paper's 25 seeds and its own random numbers: jobs/arithmetic/fig3.yaml.
#
#   orch run jobs/demo.yaml
#
# The models' options, beside those of the paper's command line: docs/papers/arithmetic.md.

study: demo
experiment: arithmetic.single_layer
set: {operation: div, max_iterations: 50_000, log_interval: 1000}
axes:
  seed: 0..4
  range:                                  # inputs of training and validation, and of the test
    "U[-20,-10)":   {interpolation: [-20, -10],   extrapolation: [-40, -20]}
    "U[-2,-1)":     {interpolation: [-2, -1],     extrapolation: [-6, -2]}
    "U[-1.2,-1.1)": {interpolation: [-1.2, -1.1], extrapolation: [-6.1, -1.2]}
    "U[-0.2,-0.1)": {interpolation: [-0.2, -0.1], extrapolation: [-2, -0.2]}
    "U[-2,2)":      {interpolation: [-2, 2],      extrapolation: [[-6, -2], [2, 6]]}
    "U[0.1,0.2)":   {interpolation: [0.1, 0.2],   extrapolation: [0.2, 2]}
    "U[1,2)":       {interpolation: [1, 2],       extrapolation: [2, 6]}
    "U[1.1,1.2)":   {interpolation: [1.1, 1.2],   extrapolation: [1.2, 6]}
    "U[10,20)":     {interpolation: [10, 20],     extrapolation: [20, 40]}
  model:
    Real NPU (baseline):
      layer: real-npu
      learning_rate: 5e-3
      l1: {start: 1e-9, end: 1e-7}
    Real NPU (modified):
      layer: real-npu
      learning_rate: 5e-3
      l1: {start: 1e-9, end: 1e-7}
      npu:
        init: xavier-uniform-constrained
        clip: wg
        regulariser: {gate: 1, weights: 1, start: 40_000, end: 50_000}
    NRU:
      layer: nru
      learning_rate: 1
      regulariser: {weight: 10, start: 20_000, end: 35_000}
    NMRU:
      layer: nmru
      learning_rate: 1e-2
      clip_grad_norm: 1
      regulariser: {weight: 10, start: 20_000, end: 35_000}
resources: {cpus: 1, memory: 2G, time: 40m}
export:
  tags: ["metric/*", "*/sparsity_error"]
  summary:
    select: metric/valid/interpolation    # the row with the smallest value is the run's result
    error: metric/test/extrapolation      # solved: below the threshold in that row
    threshold: 1e-5
    sparsity: ["*W/sparsity_error", "*W_real/sparsity_error"]
figures:
  - {name: fig3, script: range_success, x: range, colour: model, options: {unit: seeds, estimate: published}}
END_OF_GRID
