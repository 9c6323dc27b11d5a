"""Tables of deep-thinking runs: pivot tables, accuracy by iteration, by length or size, and by effective depth.

::

    python -m experiments.thinking.tables table runs/thinking-quick --filter 99
    python -m experiments.thinking.tables schoopy runs/thinking-quick > schoopy.csv
    python -m experiments.thinking.tables extrapolation runs/thinking-quick > extrapolation.csv
    python -m experiments.thinking.tables depth runs/e2h-test-prefix-sums
    python -m experiments.thinking.tables runs runs/thinking-quick --filter 99

They read a study that has been exported (``tables/long.parquet``), or any folder with ``stats.json`` files of testing
runs in the published layout, whoever wrote them. ``schoopy`` and ``extrapolation`` write what the scripts of the same
names in ``r_plots/`` draw.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import pandas as pd

from experiments.thinking import names
from experiments.thinking.alike import trained
from orchestrator.errors import UserError

ACCURACIES = ("train_acc", "val_acc", "test_acc")
FACTS = ("max_iters", "alpha", "train_mode", "test_mode", "train_data", "test_data")
INDEX = ["model", "test_data", "max_iters", "alpha", "test_mode", "test_iter"]
"""What the rows of the pivot table are told apart by (spec §5.1)."""

HOW = ("alpha", "train_mode")
"""Which of the facts are of a net's training."""

COLUMNS = ["run", "source", "trained", "model", "seed", *FACTS, "test_iter", *ACCURACIES]


# --- reading ----------------------------------------------------------------------------------------------------------


def read(folder: Path) -> pd.DataFrame:
    """Return a row for each run and number of iterations that it was tested at.

    Parameters
    ----------
    folder
        An exported study, or a folder with ``stats.json`` files in folders called ``*testing*``, at any depth.

    Returns
    -------
    DataFrame
        ``run`` (an id or a label), ``source`` (what tells trained nets apart), ``trained`` (the same where they were
        trained alike), ``model`` (``<model>_width=<w>``), ``seed`` (of exported studies), ``max_iters``, ``alpha``,
        ``train_mode``, ``test_mode``, ``train_data``, ``test_data``, ``test_iter``, ``train_acc``, ``val_acc``,
        ``test_acc`` (percent; NaN where it was not measured). A net that was tested several times alike has its rows
        once. The mode ``convergence`` has one row for each run, at the number of iterations that the hard samples took;
        tests of single bits have none.

    Raises
    ------
    UserError
        If there is nothing to read.
    """
    long = folder / "tables" / "long.parquet"
    table = _exported(long) if long.exists() else _published(folder)
    return table.drop_duplicates(["source", "test_iter", "test_data", "test_mode"], keep="last", ignore_index=True)


def _exported(path: Path) -> pd.DataFrame:
    table = pd.read_parquet(path)
    table = table[table["tag"].isin([f"final/{name}" for name in ACCURACIES])]
    if table.empty:
        raise UserError(
            f"{path} has no tags final/*: no run has finished yet, or the grid's export: tags: leaves them out"
        )
    facts = ["model", "width", "model_path", "epochs", "seed", *FACTS]
    # A parameter that is null in every run has no column; one that is an axis has its label beside it.
    rows = table.reindex(columns=["run", *(f"param.{name}" for name in facts), "tag", "step", "value"])
    rows.columns = pd.Index(["run", *facts, "tag", "test_iter", "value"])
    # Each split ends at an iteration of its own in the mode convergence, and the run has one row.
    hard = rows[rows["tag"] == "final/test_acc"]
    ends = dict(zip(hard["run"], hard["test_iter"], strict=True))
    ended = [ends.get(run, own) for run, own in zip(rows["run"], rows["test_iter"], strict=True)]
    rows["test_iter"] = rows["test_iter"].mask(rows["test_mode"] == "convergence", ended)
    texts = ("run", "model", "model_path", "train_mode", "test_mode", "tag")
    rows = rows.assign(**{name: rows[name].astype(object) for name in texts})
    key = ["run", "test_iter"]
    found = rows.drop_duplicates(key).set_index(key)
    for name in ACCURACIES:
        part = rows[rows["tag"] == f"final/{name}"].drop_duplicates(key, keep="last")
        found[name] = part.set_index(key)["value"].astype(float).round(4)
    found = found.reset_index()
    settings = table.drop_duplicates("run").set_index("run").filter(regex="^param[.]")
    settings.columns = settings.columns.str.removeprefix("param.")
    alike = {run: trained(one) for run, one in settings.to_dict("index").items()}
    given = list(zip(found["run"], found["epochs"], found["model_path"], strict=True))
    only = {run for run, epochs, path in given if not epochs and not pd.isna(path)}
    told = _told(path.parent.parent) if only else {}
    for name in HOW:
        pairs = zip(found["run"], found[name], strict=True)
        found[name] = [told.get(run, {}).get(name, own) if run in only else own for run, own in pairs]
    found["source"] = [run if epochs or pd.isna(path) else path for run, epochs, path in given]
    found["trained"] = [alike[run] if epochs or pd.isna(path) else path for run, epochs, path in given]
    found["model"] = [f"{model}_width={width}" for model, width in zip(found["model"], found["width"], strict=True)]
    return found[COLUMNS]


def _told(folder: Path) -> dict[str, dict[str, Any]]:
    """Return what runs left of their tests, by id, as far as the study's folder still has it.

    A run that only tests has not trained its net: how that was done, its checkpoint said.
    """
    found = {}
    for path in sorted(folder.glob("tasks/*/*/*/testing/stats.json")):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            one = json.loads(path.read_text(encoding="utf-8"))
            found[str(one["id"])] = one
    return found


def _published(folder: Path) -> pd.DataFrame:
    rows = [row for path in sorted(folder.glob("**/*testing*/stats.json")) for row in _test(path)]
    if not rows:
        raise UserError(
            f"there is neither tables/long.parquet nor a */*testing*/stats.json in {folder} with accuracies of whole"
            " samples (tests of single bits have none): `orch export` the study"
        )
    return pd.DataFrame(rows)[COLUMNS]


def _test(path: Path) -> list[dict[str, Any]]:
    """Return a row for each number of iterations of a test."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        facts = {name: found[name] for name in ("model", *FACTS)}
        source = found.get("source") or found.get("id") or found["model_path"]
        facts |= {"run": found["run_id"], "source": source, "trained": found.get("trained") or source, "seed": None}
        accuracies = {name: found[name] or {} for name in ACCURACIES}
        if found["test_mode"] == "convergence":
            accuracies = {name: dict.fromkeys(found["test_acc"], _only(of)) for name, of in accuracies.items()}
        return [
            facts | {"test_iter": int(k)} | {name: _number(of.get(k)) for name, of in accuracies.items()}
            for k, accuracy in found["test_acc"].items()
            if not isinstance(accuracy, list)
        ]
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise UserError(f"{path} holds no statistics of a test: {error!r}") from error


def _only(of: dict[str, Any]) -> Any:
    return next(iter(of.values()), None)


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) else float("nan")


# --- choosing ---------------------------------------------------------------------------------------------------------


def choose(
    table: pd.DataFrame,
    folder: Path,
    *,
    more_than: float | None = None,
    max_iters: Sequence[int] = (),
    alphas: Sequence[float] = (),
    models: Sequence[str] = (),
    widths: Sequence[str] = (),
) -> pd.DataFrame:
    """Keep some runs.

    Parameters
    ----------
    table
        From :func:`read`.
    folder
        Where it was read, for errors.
    more_than
        Keep runs whose training accuracy at T iterations is more, in percent: those that trained at all. In the mode
        ``convergence`` it is the run's one number.
    max_iters, alphas
        Keep these values of T and α; all, if empty.
    models, widths
        Keep runs whose model, such as ``dt_net_1d_width=400``, contains one of these texts; all, if empty.

    Raises
    ------
    UserError
        If nothing is left; or runs to be filtered were not measured on training data at T iterations.
    """
    chosen = table
    if max_iters:
        chosen = chosen[chosen["max_iters"].isin(list(max_iters))]
    if alphas:
        chosen = chosen[chosen["alpha"].isin(list(alphas))]
    for texts in (models, [f"width={width}" for width in widths]):
        if texts:
            chosen = chosen[[any(text in model for text in texts) for model in chosen["model"]]]
    if more_than is not None and len(chosen):
        at_t = _own(chosen).set_index("source")["train_acc"].dropna()
        unknown = chosen[~chosen["source"].isin(at_t.index)]
        if len(unknown):
            run, iterations = unknown.iloc[0][["run", "max_iters"]]
            raise UserError(
                f"--filter needs training accuracies after {iterations} iterations, and run {run} has none:"
                " it was tested with quick_test, or at other iterations"
            )
        chosen = chosen[chosen["source"].isin(at_t.index[at_t > more_than])]
    if chosen.empty:
        kept = "" if more_than is None else f" with a training accuracy of more than {more_than}"
        raise UserError(f"{folder} has no runs{kept} of what was asked for: it has {_listed(table['model'])}")
    return chosen


def _own(table: pd.DataFrame) -> pd.DataFrame:
    """Return what runs reach at T iterations, or when they stop by themselves."""
    return table[(table["test_iter"] == table["max_iters"]) | (table["test_mode"] == "convergence")]


def _listed(values: pd.Series[Any]) -> str:
    return ", ".join(map(str, values.unique()))


# --- tables -----------------------------------------------------------------------------------------------------------


def pivot(table: pd.DataFrame, *, largest: bool = False, smallest: bool = False) -> pd.DataFrame:
    """Return means and standard errors of the accuracies, and the number of runs, by :data:`INDEX` (spec §5.1).

    What a quick test did not measure counts as 0, as in the published table.
    """
    kinds = ["mean", "sem", *(["max"] if largest else []), *(["min"] if smallest else [])]
    groups = table.fillna(dict.fromkeys(ACCURACIES, 0.0)).groupby(INDEX, sort=True)
    found = groups[list(ACCURACIES)].agg(kinds)
    found.columns = ["_".join(column) for column in found.columns]
    return found.round(3).assign(count=groups.size()).reset_index()


def schoopy(table: pd.DataFrame, more: Sequence[str] = ()) -> pd.DataFrame:
    """Return accuracy on hard samples by iteration, a row for each curve and iteration, for ``r_plots/schoopy.R``.

    Parameters
    ----------
    table
        From :func:`read`.
    more
        Further columns that tell curves apart, such as ``seed``.
    """
    by = [*more, "model", "train_mode", "alpha", "train_data", "test_data", "max_iters", "test_mode", "test_iter"]
    return _accuracy(table, by)


def extrapolation(table: pd.DataFrame, at: Sequence[int] = ()) -> pd.DataFrame:
    """Return accuracy by length or size, after T iterations and after the best number, for ``r_plots/extrapolation.R``.

    Parameters
    ----------
    table
        From :func:`read`. What was trained on counts too, where it was measured (``val_acc``), unless it is among what
        was tested.
    at
        Further numbers of iterations.

    The best number is one for all runs of a point: the one with the highest mean.
    """
    by = ["model", "train_mode", "alpha", "train_data", "max_iters", "test_mode"]
    easy = table.dropna(subset=["val_acc"]).assign(test_data=table["train_data"], test_acc=table["val_acc"])
    # A net that was trained once for each test length has the same weights, and the same validation, every time.
    easy = easy[~easy.duplicated([*by, "trained", "test_iter"])]
    # Where hard samples are of the size of the easy ones, they are the measure.
    hard, points = (pd.MultiIndex.from_frame(part[[*by, "test_data"]]) for part in (table, easy))
    easy = easy[~points.isin(hard)]
    means = _accuracy(pd.concat([easy, table]), [*by, "test_data", "test_iter"])
    rows = []
    for _, group in means.groupby([*by, "test_data"], sort=False):
        chosen = {f"T = {t}": group[group["test_iter"] == t] for t in group["max_iters"].unique()}
        chosen |= {f"k = {k}": group[group["test_iter"] == k] for k in at}
        chosen["best"] = group[group["test_acc_mean"] == group["test_acc_mean"].max()].iloc[:1]
        rows += [part.assign(iterations=name) for name, part in chosen.items()]
    return pd.DataFrame(pd.concat(rows, ignore_index=True))


def depth(table: pd.DataFrame) -> pd.DataFrame:
    """Return the effective-depth table: recurrent and feed-forward nets at their own depth, mean ± standard error.

    The depth of a net is 4 + 4 · iterations: convolutions that a cell passes through (spec §1.6).
    """
    own = table[table["test_iter"] == table["max_iters"]]
    own = own.assign(
        depth=4 + 4 * own["max_iters"],
        net=["feed-forward" if model.startswith(("ff_", "feedforward")) else "recurrent" for model in own["model"]],
    )
    found = _accuracy(own, ["net", "test_mode", "test_data", "depth"])
    found["accuracy"] = [
        f"{mean:.2f} ± {sem:.2f}" for mean, sem in zip(found["test_acc_mean"], found["test_acc_sem"], strict=True)
    ]
    return found


def runs(table: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each run: a name to say, id, model, α, and accuracies after T iterations if it was tested so.

    Names are unique among the runs of the table (:mod:`.names`); runs that others trained keep the labels they have.
    """
    labels = names.unique(table["run"])
    own = _own(table).set_index("source")
    found = table.drop_duplicates("source")[["run", "source", "model", "alpha", "test_data"]]
    known = [label if "-" in label else labels[label] for label in found["run"]]
    found.insert(0, "name", known)
    for accuracy in ACCURACIES:
        values = own[accuracy][~own.index.duplicated()]
        found[accuracy] = found["source"].map(values)
    return found.drop(columns="source")


def _accuracy(table: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    groups = table.groupby(by, sort=True)["test_acc"]
    found = pd.DataFrame(groups.agg(["mean", "sem", "min", "max", "size"])).round(3).reset_index()
    return found.rename(columns={name: f"test_acc_{name}" for name in ("mean", "sem", "min", "max")} | {"size": "runs"})


def markdown(table: pd.DataFrame) -> str:
    """Return a table as Markdown."""
    rows = [[str(value) for value in row] for row in table.itertuples(index=False)]
    lines = [list(table.columns), ["---"] * table.shape[1], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


# --- command line -----------------------------------------------------------------------------------------------------


def _csv(table: pd.DataFrame) -> str:
    return table.to_csv(index=False).rstrip()


KINDS: dict[str, tuple[Callable[..., pd.DataFrame], Callable[[pd.DataFrame], str]]] = {
    "table": (pivot, markdown),
    "schoopy": (schoopy, _csv),
    "extrapolation": (extrapolation, _csv),
    "depth": (depth, markdown),
    "runs": (runs, markdown),
}
"""What can be asked for: the function that makes it, and how it is printed."""


@click.command()
@click.argument("kind", type=click.Choice(list(KINDS)))
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--filter", "more_than", type=float, help="Only runs with a higher training accuracy at T, in percent.")
@click.option("--max_iters_list", "max_iters", type=int, multiple=True, help="Only this T; may be repeated.")
@click.option("--alpha_list", "alphas", type=float, multiple=True, help="Only this alpha; may be repeated.")
@click.option("--model_list", "models", multiple=True, help="Only models whose name contains this; may be repeated.")
@click.option("--width_list", "widths", multiple=True, help="Only this width; may be repeated.")
@click.option("--max", "largest", is_flag=True, help="table: the largest accuracy too.")
@click.option("--min", "smallest", is_flag=True, help="table: the smallest accuracy too.")
@click.option("--at", type=int, multiple=True, help="extrapolation: after so many iterations too; may be repeated.")
@click.option("--save_name", type=click.Path(path_type=Path, dir_okay=False), help="Write a CSV file.")
def main(kind: str, folder: Path, save_name: Path | None, **choices: Any) -> None:
    """Print a table of the runs in FOLDER."""
    own = {"table": ("largest", "smallest"), "extrapolation": ("at",)}.get(kind, ())
    words = {name: choices[name] for name in own}
    make, show = KINDS[kind]
    try:
        chosen = choose(read(folder), folder, **{name: choices[name] for name in CHOICES})
    except UserError as error:
        raise click.ClickException(str(error)) from None
    found = make(chosen, **words)
    if save_name is not None:
        found.to_csv(save_name, index=False)
    click.echo(show(found))


CHOICES = ("more_than", "max_iters", "alphas", "models", "widths")


if __name__ == "__main__":
    main()
