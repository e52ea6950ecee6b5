# SPDX-License-Identifier: BSD-3-Clause
"""Golden numbers: real data sets and their official costs, to the last digit that is known."""

import csv
import gzip
import json

import numpy as np
import pytest
import torch

from lossmatrix.costs import Dense, PerExample
from lossmatrix.decide import conditional_risk, decide
from lossmatrix.metrics import average_cost, cost_regret, normalized_cost


def table(path):
    """Header and rows of a CSV file, gzipped or not."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    return header, rows


def column(path, name):
    header, rows = table(path)
    return [row[header.index(name)] for row in rows]


def targets(path):
    return torch.tensor([int(y) for y in column(path, "y")])


def costs_of(folder, name="cost.csv"):
    """D from a file whose corner says rows are the truth."""
    (corner, *decisions), rows = table(folder / name)
    assert corner == "true\\pred"
    D = [[float(entry) for entry in row[1:]] for row in rows]
    return Dense(D, classes=[row[0] for row in rows], decisions=decisions)


def best_constant(target, costs, weight=None):
    """Name and average cost of the constant decision that costs least."""
    constants = [
        average_cost(torch.full_like(target, j), target, costs, sample_weight=weight)
        for j in range(costs.num_decisions)
    ]
    j = int(torch.stack(constants).argmin())
    return costs.decisions[j], constants[j].item()


# --- KDD Cup 1999 --------------------------------------------------------------------------------

# the winner's confusion matrix as published: rows are the truth (normal, probe, dos, u2r, r2l)
WINNER = [
    [60262, 243, 78, 4, 6],
    [511, 3471, 184, 0, 0],
    [5299, 1328, 223226, 0, 0],
    [168, 20, 0, 30, 10],
    [14527, 294, 0, 8, 1360],
]


def test_the_winner_of_kdd99_paid_0_2331(data_dir):
    counts = torch.tensor(WINNER)
    costs = costs_of(data_dir / "kdd99")
    target, decision = torch.cartesian_prod(torch.arange(5), torch.arange(5)).T
    paid = average_cost(decision, target, costs, sample_weight=counts.flatten())
    assert paid.item() == 0.23309723530603255
    every_row = counts.flatten()
    target, decision = target.repeat_interleave(every_row), decision.repeat_interleave(every_row)
    assert len(target) == 311_029
    assert average_cost(decision, target, costs).item() == 0.23309723530603255


def test_always_answering_dos_on_kdd99_costs_0_521983(data_dir):
    counts = torch.tensor(WINNER).sum(1)
    costs = costs_of(data_dir / "kdd99")
    name, cost = best_constant(torch.arange(5), costs, counts)
    assert name == "dos"
    assert cost == pytest.approx(0.521983, abs=5e-7)


# --- other best constant decisions ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("folder", "file", "name", "cost"),
    [
        ("german_credit", "cost.csv", "bad", 0.7),
        ("wine_quality", "cost.csv", "6", 0.637217),
        ("wine_quality", "cost_overrate3.csv", "5", 0.988302),
        ("bank_marketing", "cost.csv", "yes", 1.0),
    ],
)
def test_the_cheapest_constant_answer(data_dir, folder, file, name, cost):
    (data,) = (data_dir / folder).glob("data.csv*")
    target, costs = targets(data), costs_of(data_dir / folder, file)
    found, paid = best_constant(target, costs)
    assert found == name
    assert paid == pytest.approx(cost, abs=5e-7)
    always = torch.full_like(target, costs.decisions.index(name))
    assert normalized_cost(always, target, costs).item() == 1.0


def test_overpaying_four_times_makes_one_the_cheapest_digit(data_dir):
    target = torch.from_numpy(np.load(data_dir / "mnist10k" / "arrays.npz")["y"])
    name, cost = best_constant(target, costs_of(data_dir / "mnist10k", "cost_overpay4.csv"))
    assert name == "1"
    assert cost == pytest.approx(3.9334, abs=1e-12)


# --- Scania Component X: argmax against Bayes on probabilities -----------------------------------


@pytest.fixture(scope="module")
def scania(data_dir):
    folder = data_dir / "scania_cx_probs"
    arrays = np.load(folder / "arrays.npz")
    probs, target, weight = (torch.from_numpy(arrays[k]) for k in ("probs", "y", "weight"))
    return probs, target, weight, costs_of(folder)


def total(decision, scania):
    _, target, weight, costs = scania
    mean = average_cost(decision, target, costs, sample_weight=weight)
    return (mean * weight.sum()).item()


def test_scania_totals_by_decision_rule(scania):
    probs, target, _, costs = scania
    assert total(decide(probs, costs), scania) == pytest.approx(34835.690, abs=5e-4)
    assert total(probs.argmax(1), scania) == pytest.approx(54907, abs=0.5)
    assert total(torch.zeros_like(target), scania) == pytest.approx(56100, abs=1e-6)
    assert total(torch.full_like(target, 4), scania) == pytest.approx(49671, abs=0.5)


def test_scania_trucks_about_to_fail_are_called_so_48_times_of_60(scania):
    probs, target, _, costs = scania
    failing = decide(probs, costs)[target == 4]
    assert failing.bincount(minlength=5).tolist() == [12, 0, 0, 0, 48]


def test_scania_cheapest_constant_is_to_inspect_all(scania):
    _, target, weight, costs = scania
    name, cost = best_constant(target, costs, weight)
    assert name == "4_6_to_0"
    assert cost == pytest.approx(9.84559, abs=5e-6)


def test_row_constants_and_scale_change_no_decision_on_scania(scania):
    probs, target, weight, costs = scania
    D, decision = costs.to_dense(), decide(probs, costs)
    shifted = D + torch.tensor([[3.0], [-700.0], [0.25], [41.0], [1e3]])
    assert torch.equal(decide(probs, shifted), decision)
    assert torch.equal(decide(probs, 7.5 * D), decision)
    cost, scaled = (
        average_cost(decision, target, table, sample_weight=weight) for table in (D, 7.5 * D)
    )
    torch.testing.assert_close(scaled, 7.5 * cost)
    cost, scaled = (
        normalized_cost(decision, target, table, sample_weight=weight) for table in (D, 7.5 * D)
    )
    torch.testing.assert_close(scaled, cost)


# --- costs per row -------------------------------------------------------------------------------


def test_bank_marketing_costs_differ_by_row(data_dir):
    path = data_dir / "bank_marketing" / "data.csv.gz"
    target = targets(path)
    miss = torch.tensor([float(cost) for cost in column(path, "cost_fn")], dtype=torch.float64)
    known = [1.66274977, 1.63195811, 5.11141597]
    assert miss[[10, 25, 319]].tolist() == pytest.approx(known, abs=2e-8)
    assert target[[10, 25, 319]].tolist() == [0, 0, 1]
    # a call costs 1 whoever answers, so the diagonal is not zero
    cubes = torch.tensor([[0.0, 1.0], [0.0, 1.0]], dtype=torch.float64).repeat(len(target), 1, 1)
    cubes[:, 1, 0] = miss
    costs = PerExample.matrices(cubes)
    sure = torch.nn.functional.one_hot(target, 2).double()
    assert torch.equal(conditional_risk(sure, costs), costs.row(target, torch.arange(len(target))))
    assert average_cost(torch.ones_like(target), target, costs).item() == 1.0
    assert cost_regret(target, target, costs).item() == 0.0
    never = average_cost(torch.zeros_like(target), target, costs)
    torch.testing.assert_close(never, miss[target == 1].sum() / len(target))
    # calling pays where P(yes) · miss > 1
    probs = torch.tensor([0.6, 0.4], dtype=torch.float64).expand(len(target), 2)
    assert torch.equal(decide(probs, costs), (0.4 * miss > 1).long())


# --- published matrices --------------------------------------------------------------------------

# under equal probabilities: the Bayes decision and its expected cost
UNIFORM = {
    "absolute_k3": ("1", 0.3333),
    "absolute_k5": ("2", 0.3),
    "absolute_k7": ("3", 0.2857),
    "cityscapes_groups": ("car", 1.6316),
    "kdd99": ("probe", 1.2),
    "nad2021": ("probing_ip_sweep", 0.8),
    "physionet2020_reward": ("PVC", -0.4722),
    "physionet2021_reward": ("PR", -0.4486),
    "quadratic_k5": ("2", 0.125),
    "scania_aps": ("pos", 5.0),
    "scania_component_x": ("4_6_to_0", 6.8),
    "skin_diagnosis_reward_7x8": ("unknown", 1.0),
    "skin_management_reward_7x3": ("dismiss", -1.4286),
    "skin_patient_reward_2x3": ("excise", -1.75),
    "statlog_german": ("bad", 0.5),
    "statlog_heart": ("presence", 0.5),
}


@pytest.mark.parametrize("name", UNIFORM)
def test_the_decision_under_equal_probabilities(data_dir, name):
    costs = costs_of(data_dir / "cost_matrices", f"{name}.csv")
    if "reward" in name:
        costs = Dense(-costs.to_dense(), costs.classes, costs.decisions)
    probs = torch.full((costs.num_classes,), 1 / costs.num_classes, dtype=torch.float64)
    decision, risk = UNIFORM[name]
    assert costs.decisions[decide(probs, costs)] == decision
    assert conditional_risk(probs, costs).min().item() == pytest.approx(risk, abs=5e-5)


@pytest.mark.parametrize("name", [name for name in UNIFORM if "reward" in name])
def test_minus_reward_and_its_regret_decide_alike(data_dir, name):
    costs = costs_of(data_dir / "cost_matrices", f"{name}.csv")
    loss = Dense(-costs.to_dense(), costs.classes, costs.decisions)
    generator = torch.Generator().manual_seed(0)
    probs = torch.rand(200, costs.num_classes, generator=generator, dtype=torch.float64)
    probs = probs / probs.sum(1, keepdim=True)
    # some of these decisions cost the same whatever the truth: which of them is taken is rounding
    _, group = loss.to_dense().unique(dim=1, return_inverse=True)
    assert torch.equal(group[decide(probs, loss)], group[decide(probs, loss.regret())])


# --- German credit with a linear model -----------------------------------------------------------


def test_german_credit_costs_0_858_by_argmax_and_0_556_by_bayes(data_dir):
    linear_model = pytest.importorskip("sklearn.linear_model")
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    folder = data_dir / "german_credit"
    features = json.loads((folder / "meta.json").read_text())["features"]
    X = np.concatenate([design(folder / "data.csv", feature) for feature in features], 1)
    target, costs = targets(folder / "data.csv"), costs_of(folder)
    fold = np.array([int(f) for f in column(folder / "data.csv", "fold")])
    probs = torch.zeros(len(target), 2, dtype=torch.float64)
    for k in range(10):
        train, test = fold != k, fold == k
        scaler = preprocessing.StandardScaler().fit(X[train])
        model = linear_model.LogisticRegression(max_iter=2000)
        model.fit(scaler.transform(X[train]), target.numpy()[train])
        probs[test] = torch.from_numpy(model.predict_proba(scaler.transform(X[test])))
    assert average_cost(probs.argmax(1), target, costs).item() == pytest.approx(0.858, abs=0.003)
    assert average_cost(decide(probs, costs), target, costs).item() == pytest.approx(
        0.556, abs=0.003
    )
    assert normalized_cost(decide(probs, costs), target, costs).item() < 0.8


def design(path, feature):
    """Columns of one feature: the number, or one indicator per category."""
    values = column(path, feature["name"])
    if feature["kind"] == "numeric":
        return np.array(values, dtype=np.float64)[:, None]
    return np.array([[value == str(c) for c in feature["categories"]] for value in values], float)
