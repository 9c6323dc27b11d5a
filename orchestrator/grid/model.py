"""The sections of a grid file beside its axes: resources, export and figures."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator
from typing_extensions import Self, TypeAliasType

from orchestrator import units


class Section(BaseModel):
    """A section: unknown keys, wrong types and non-finite numbers are errors."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)


def _unit(read: Any, example: str) -> Any:
    """Return a validator that refuses what ``read`` cannot read, bare numbers included."""

    def check(value: object) -> object:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            raise ValueError(f"it has no unit: write a number with its unit, such as {example}")  # noqa: TRY004
        if isinstance(value, str):
            read(value)
        return value

    return BeforeValidator(check)


Time = Annotated[
    str, _unit(units.seconds, "40m or 1h30m"), WithJsonSchema({"type": "string", "pattern": f"^{units.TIME}$"})
]
Memory = Annotated[
    str, _unit(units.size, "512M or 2G"), WithJsonSchema({"type": "string", "pattern": f"^{units.SIZE}$"})
]


def _name(value: str) -> str:
    if not value or not set(value) <= _NAME or value[0] in ".-":
        raise ValueError("a name has letters, digits, '-', '_' and '.', and begins with a letter, a digit or '_'")
    return value


_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")
Name = Annotated[
    str, AfterValidator(_name), WithJsonSchema({"type": "string", "pattern": r"^[A-Za-z0-9_][A-Za-z0-9_.\-]*$"})
]
"""A name that may become a file or folder name on any file system."""


class ClusterLimits(Section):
    """What a cluster allows, where it cannot be asked or should not be used up."""

    array: int | None = Field(None, ge=1, description="elements of one array")
    jobs: int | None = Field(None, ge=2, description="jobs and array elements of this user in the queue at one time")


class StewardResources(Section):
    """What the steward's job asks for that differs from the others: it has one core and no accelerator."""

    memory: Memory | None = Field(None, description="memory, such as 4G")
    time: Time | None = Field(None, description="time limit, such as 1h")
    partition: str | None = Field(None, description="Slurm partition")
    queue: str | None = Field(None, description="LSF queue")
    account: str | None = Field(None, description="account or project that is charged")
    qos: str | None = Field(None, description="Slurm quality of service")
    extra: list[str] | None = Field(None, description="scheduler options in place of those of the jobs")


class Resources(Section):
    """What one job asks of the cluster."""

    cpus: int = Field(1, ge=1, description="cores of one job")
    gpus: int = Field(0, ge=0, description="accelerators of one job")
    gpu_type: str | None = Field(None, description="type of accelerator, as the cluster calls it, such as a100")
    memory: Memory | None = Field(None, description="memory of one job, such as 2G")
    max_memory: Memory | None = Field(
        None, description="the most that is asked for when memory was not enough; 8 times the memory by default"
    )
    time: Time | None = Field(
        None, description="time slice of one job, such as 40m; what is unfinished goes on in the next"
    )
    lanes: Literal["auto"] | Annotated[int, Field(ge=1)] = Field("auto", description="runs that train together")
    workers: Literal["auto"] | Annotated[int, Field(ge=1)] = Field(
        "auto", description="processes side by side in a job"
    )
    cluster: Name = Field("local", description="local, slurm, lsf, or a cluster profile")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="where the runs compute")
    engine: Literal["auto", "eager", "compiled"] = Field("auto", description="how lanes are computed")
    allow: list[Literal["env-change", "mixed-engines"]] = Field(
        default_factory=list,
        description="what workers may do although it may change last bits: run with other packages than were there at "
        "submission, compute with another engine than the study began with",
    )
    checkpoint: Time = Field("60s", description="time between checkpoints")
    retries: int = Field(2, ge=0, description="how often a failed run is tried again")
    partition: str | None = Field(None, description="Slurm partition")
    queue: str | None = Field(None, description="LSF queue")
    account: str | None = Field(None, description="account or project that is charged")
    qos: str | None = Field(None, description="Slurm quality of service")
    constraint: str | None = Field(None, description="features that a node must have (--constraint, select[])")
    exclude: list[str] = Field(default_factory=list, description="machines that no job may run on")
    parallel: int | None = Field(None, ge=1, description="elements of an array that run at one time")
    extra: list[str] = Field(default_factory=list, description="further scheduler options, passed on as they are")
    prologue: str | None = Field(None, description="shell commands before each job: modules, conda, a container")
    python: str | None = Field(None, description="Python interpreter on the cluster's machines")
    limits: ClusterLimits = Field(default_factory=ClusterLimits, description="what the cluster allows")
    steward: StewardResources = Field(
        default_factory=StewardResources,
        description="what the steward's job asks for",
    )


Threshold = TypeAliasType("Threshold", "float | dict[str, dict[str, Threshold]]")
"""A number; or, by an axis' name, its labels with a threshold each: ``{range: {"U[1,2)": 1e-5, "U[-2,2)": 1e-4}}``."""


class SummarySpec(Section):
    """How runs are judged."""

    select: str = Field(description="tag whose minimum picks a run's best row")
    error: str = Field(description="tag that is compared with the threshold")
    threshold: Threshold = Field(
        description="a run succeeds below it: a number, or {axis: {label: number}} for one of each label"
    )
    inclusive: bool = Field(False, description="whether the threshold itself is a success")
    sparsity: list[str] = Field(default_factory=list, description="tag patterns; their maximum at each step counts")
    window: Annotated[int, Field(ge=1)] | None = Field(None, description="only the last so many rows")


class ExportSpec(Section):
    """What goes into the tables."""

    tags: list[str] = Field(default_factory=lambda: ["*"], min_length=1, description="tag patterns")
    every: int = Field(1, ge=1, description="keep every so many rows of a series")
    summary: SummarySpec | None = Field(None, description="how runs are judged")


class FigureSpec(Section):
    """One figure."""

    name: Name = Field(description="file name of the figure")
    script: str = Field(min_length=1, description="script in r_plots/, or a path to an R script")
    x: str | None = Field(None, description="axis or parameter along x, of a figure that shows which runs succeeded")
    colour: str | None = Field(None, description="axis or parameter told apart by colour")
    table: str | None = Field(
        None,
        pattern=r"^[\w.]+:[\w.]+$",
        description="in place of x and colour: module:function that makes the table to be drawn of the study's folder",
    )
    where: dict[str, bool | int | float | str | list[bool | int | float | str]] = Field(
        default_factory=dict,
        description="only points with this label of an axis or value of a parameter, or one of these; of a table of "
        "its own, only rows with this value of a column",
    )
    options: dict[str, bool | int | float | str] = Field(
        default_factory=dict, description="further options of the script"
    )

    @model_validator(mode="after")
    def _check_table(self) -> Self:
        if self.table is None and self.x is None:
            raise ValueError("it needs x, an axis or a parameter; or table, a module:function that makes its table")
        if self.table is not None and (self.x is not None or self.colour is not None):
            raise ValueError("x and colour belong to figures without a table of their own: write them under options")
        return self
