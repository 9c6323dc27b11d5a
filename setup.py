"""Metadata, entry points and dependencies of ``orch``; every tool is configured in ``pyproject.toml``."""

from pathlib import Path

from setuptools import Extension, find_packages, setup

HERE = Path(__file__).parent

# Each line is defended in docs/design.md, "Dependencies".
RUNTIME = [
    "click>=8.1",
    "google-crc32c>=1.6",
    "numpy>=2.0",
    "pandas>=2.2",
    "platformdirs>=4",
    "protobuf>=5",
    "pyarrow>=17",
    "pydantic>=2.10",
    "rich>=13",
    "ruamel.yaml>=0.18",
    "scipy>=1.15",
    "submitit>=1.5.2",
    "tenacity>=8.2",
    "tensorboard>=2.17",
    "torch>=2.6",
    "typing-extensions>=4.6",
]
TEST = [
    "chess>=1.10",
    "hypothesis>=6",
    "jsonschema>=4",
    "pytest>=8",
    "pytest-timeout>=2",
    "pytest-xdist>=3.6",
    "tensorboardX>=2.6",
]
LINT = ["import-linter>=2", "mypy>=1.11", "pandas-stubs", "ruff>=0.6", "scipy-stubs"]

setup(
    name="orch",
    version="0.1.0",
    description="Slurm/LSF experiment orchestrator for people who train many small models",
    long_description=(HERE / "README.md").read_text(encoding="utf-8") if (HERE / "README.md").exists() else "",
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.10",
    packages=[*find_packages(include=["orchestrator*", "experiments*", "export*"]), "r_plots", "jobs"],
    package_data={
        "orchestrator": ["py.typed"],
        "export": ["py.typed"],
        "r_plots": ["*.R"],
        "jobs": ["**/*.yaml", "**/*.sh"],
    },
    # Export is several times faster with it, and does the same without it: no compiler is needed.
    ext_modules=[Extension("export._kernel", ["export/kernel.c"], extra_compile_args=["-O3"], optional=True)],
    install_requires=RUNTIME,
    extras_require={"test": TEST, "lint": LINT, "bench": ["tbparse>=0.0.9"]},
    entry_points={
        "console_scripts": ["orch = orchestrator.cli.main:main"],
        "orchestrator.experiments": [
            "arithmetic.single_layer = experiments.arithmetic.params:SINGLE_LAYER",
            "arithmetic.number_translation = experiments.arithmetic.sequences.translation_params:NUMBER_TRANSLATION",
            "arithmetic.recurrent = experiments.arithmetic.sequences.recurrent_params:RECURRENT",
            "arithmetic.sequential_mnist = experiments.arithmetic.sequences.mnist_params:SEQUENTIAL_MNIST",
            "arithmetic.two_layer = experiments.arithmetic.two_layer:TWO_LAYER",
            "thinking.dt_prefix_sums = experiments.thinking.defaults:DT_PREFIX_SUMS",
            "thinking.dt_mazes = experiments.thinking.defaults:DT_MAZES",
            "thinking.dt_chess = experiments.thinking.defaults:DT_CHESS",
            "thinking.delta_prefix_sums = experiments.thinking.defaults:DELTA_PREFIX_SUMS",
            "thinking.delta_mazes = experiments.thinking.defaults:DELTA_MAZES",
            "thinking.delta_chess = experiments.thinking.defaults:DELTA_CHESS",
            "thinking.legacy_prefix_sums = experiments.thinking.defaults:LEGACY_PREFIX_SUMS",
            "thinking.legacy_mazes = experiments.thinking.defaults:LEGACY_MAZES",
            "thinking.legacy_chess = experiments.thinking.defaults:LEGACY_CHESS",
        ],
        "submitit": [
            "executor = orchestrator.clusters.lsf_executor:LsfExecutor",
            "job_environment = orchestrator.clusters.lsf_executor:LsfJobEnvironment",
        ],
    },
)
