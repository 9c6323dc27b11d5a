# One command for each chore; CONTRIBUTING.md lists them.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
JOBS   ?= auto

.DEFAULT_GOAL := help
.PHONY: help setup demo smoke test lint format lock test-site soak bench-lanes bench-grid bench-export bench-start bench-submit bench-thinking clean

help:            ## what there is
	@grep -hE '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 16

setup: $(VENV)/.installed   ## a virtual environment with everything pinned in constraints.txt

$(VENV)/.installed: setup.py constraints.txt tools/setup.sh
	tools/setup.sh $(PYTHON) $(VENV)
	@touch $@

demo: setup      ## train the demo grid, export, draw; prints where the figure is
	@tools/debian.sh figures compiler || true
	$(BIN)/orch run jobs/demo.yaml

smoke: setup     ## the demo, shortened: seconds instead of minutes
	$(BIN)/orch run jobs/smoke.yaml

test: setup      ## every test
	@tools/debian.sh figures compiler pdf || true
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder  # the longest files are few tests, and begin early

test-site: setup ## the conformance suite on your own cluster: make test-site SITE=lsf FOLDER=/shared/folder
	ORCH_TESTS_SITE=$(SITE) ORCH_TESTS_FOLDER=$(FOLDER) $(BIN)/python -m pytest tests/cluster/test_conformance.py -n 0

soak: setup      ## a study under random faults on a real Slurm: make soak MINUTES=60 RUNS=500 EVERY=3 SEED=7
	@tools/debian.sh slurm || true
	ORCH_TESTS_SOAK=$(or $(MINUTES),30) ORCH_TESTS_SOAK_RUNS=$(or $(RUNS),300) ORCH_TESTS_SOAK_EVERY=$(or $(EVERY),3) \
	$(if $(SEED),ORCH_TESTS_SOAK_SEED=$(SEED)) $(if $(FORM),ORCH_TESTS_SOAK_FORM=$(FORM)) $(BIN)/python -m pytest tests/cluster/test_soak.py -q -s -n 0

lint: setup      ## style, types, and the arrows between packages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup    ## rewrite the sources in the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: setup      ## resolve setup.py's dependencies again and rewrite constraints.txt
	tools/lock.sh $(BIN)

bench-lanes: setup   ## lanes beside one process per run (about an hour; options: python benchmarks/bench_lanes.py --help)
	$(BIN)/python benchmarks/bench_lanes.py

bench-grid: setup    ## expansion, validation and hashing of 10^5 and 10^6 runs
	$(BIN)/python benchmarks/bench_grid.py

bench-export: setup  ## export beside TensorBoard's readers and tbparse (a quarter of an hour)
	@$(BIN)/python -c 'import tbparse' 2>/dev/null || $(BIN)/python -m pip install -qq -c constraints.txt -e '.[bench]' || \
		echo 'tbparse could not be installed: it is left out'
	$(BIN)/python benchmarks/bench_export.py

bench-start: setup   ## start-up of orch --help and orch status above a bare interpreter
	$(BIN)/python benchmarks/bench_start.py

bench-submit: setup  ## submission to Slurm beside submitit's arrays (root, and what tools/debian.sh slurm installs)
	$(BIN)/python benchmarks/bench_submit.py

bench-thinking: setup ## steps and tests of the deep-thinking nets beside a plain implementation (a quarter of an hour)
	$(BIN)/python benchmarks/bench_thinking.py

clean:           ## remove what make and the tools have written, but no study
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
