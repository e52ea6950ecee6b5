# SPDX-License-Identifier: BSD-3-Clause
"""`check`: what looks wrong in a cost matrix, and on published ones."""

from __future__ import annotations

import csv
import re
import time
from pathlib import Path

import pytest
import torch
from scipy.optimize import linprog
from torch import Tensor

import lossmatrix as lm
from lossmatrix.costs.check import STEP, best_somewhere, nowhere_cheaper, on_average, play, wins

NAMES = ["cat", "lynx", "truck"]
INF = float("inf")


def kinds(costs: lm.CostMatrix) -> list[str]:
    return [finding.kind for finding in costs.check()]


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ([[0, 1, 9], [2, 0, 4], [9, 4, 0]], []),
        ([[0, 1], [5, 0]], []),
        ([[0, 0], [0, 0]], ["zero row", "alike", "never best"]),
        ([[0, 1, 2], [0, 0, 0], [3, 4, 0]], ["zero row", "never best"]),
        ([[0, 1], [0, 0]], ["zero row", "never best"]),
        ([[0, 1, 1], [1, 0, 1], [1, 1, 0]], ["alike"]),
        ([[0, 3], [3, 0]], ["alike"]),
        ([[1, 2, 5], [4, 0, 6], [7, 8, 0]], ["diagonal"]),
        ([[0, -1, 5], [4, 0, -1], [-1, 8, 0]], ["negative"]),
        ([[-5, 1], [2, -3]], ["negative", "diagonal"]),
        ([[1, 9], [0, 2]], ["diagonal", "never best"]),
        ([[0, 5, 6], [7, 3, 1], [8, 4, 2]], ["diagonal", "never best"]),
        ([[3, 1], [8, 2]], ["diagonal", "never best"]),
        ([[3, 4], [1, 0]], ["diagonal"]),
        ([[1, 0], [3, 3]], ["diagonal", "never best"]),
        ([[0, 2, 1], [2, 0, 1]], ["never best"]),
        ([[0, 2, 0.9], [2, 0, 1]], []),
        ([[0, float("inf"), 1], [2, 0, 3], [1, 1, 0]], []),
        ([[0, 2, 1, float("inf")], [2, 0, 1, 1]], []),  # never best is looked for if all is finite
        ([[0]], []),
        ([[2]], ["diagonal"]),
    ],
)
def test_findings_name_what_is_wrong_and_nothing_else(
    table: list[list[float]], expected: list[str]
) -> None:
    found = [kind for kind in kinds(lm.Dense(table)) if kind != "transposed"]
    assert found == expected


def test_a_table_that_makes_sense_only_turned_round_is_noticed() -> None:
    table = [[3, 2, 9], [4, 1, 8], [5, 7, 2]]  # the diagonal leads its columns, not its rows
    assert kinds(lm.Dense(table)) == ["diagonal", "transposed"]
    message = "the right decision is cheapest in each column, not in each row"
    assert lm.Dense(table).check()[1].message == message
    assert kinds(lm.Dense.from_predicted_rows(table)) == ["diagonal"]
    neither = [[3, 2, 9], [2, 1, 8], [5, 7, 2]]
    assert "transposed" not in kinds(lm.Dense(neither))


def test_truths_that_nobody_can_decide_may_be_decisions_turned_round() -> None:
    wide = lm.Dense([[0, 1], [1, 0], [2, 2]], ["a", "b", "abstain"], ["a", "b"])
    assert [str(finding) for finding in wide.check()] == [
        "all 2 decisions are classes, and 1 more are only truths: if rows are predictions, read "
        "the table with Dense.from_predicted_rows."
    ]
    acts = lm.Dense([[0, 1], [1, 0], [2, 2]], ["a", "b", "c"], ["wait", "treat"])
    assert kinds(acts) == []


def test_findings_speak_in_names_and_end_with_a_remedy() -> None:
    costs = lm.Dense([[0, 1, -2], [0, 0, 0], [9, 4, 1]], classes=NAMES)
    messages = {finding.kind: str(finding) for finding in costs.check()}
    assert messages["negative"] == (
        "a decision costs less than nothing when the truth is cat: "
        "regret() decides the same without it; from_gains reads gains."
    )
    assert "when the truth is lynx" in messages["zero row"]
    assert "when the truth is truck" in messages["diagonal"]
    for finding in costs.check():
        assert finding.remedy
        assert len({finding, finding}) == 1
        with pytest.raises(AttributeError):
            finding.kind = "other"  # type: ignore[misc]


def test_many_names_are_cut_short() -> None:
    finding = lm.Dense(torch.ones(9, 9)).check()[0]
    assert "0, 1, 2, 3, 4, 5, …" in finding.message


def test_structured_matrices_are_checked_like_their_tables() -> None:
    assert kinds(lm.ZeroOne(4)) == ["alike"]
    assert lm.ZeroOne(4).check()[0].message == "all mistakes cost the same"
    assert kinds(lm.Ordinal(4)) == []
    assert kinds(lm.Tree.from_groups("aabb")) == []
    assert kinds(lm.ZeroOne(3).with_abstain(0.5)) == []
    assert kinds(lm.ZeroOne(3).with_abstain(0.7)) == ["never best"]  # at even odds all cost 2/3
    assert kinds(lm.ZeroOne(3).with_abstain(2 / 3 - 1e-6)) == []


def is_best_somewhere(D: Tensor, j: int) -> bool:
    """By another road: the largest margin of j over the others, by scipy's solver."""
    C, K = D.shape
    others = [k for k in range(K) if k != j]
    A = [[D[i, j].item() - D[i, k].item() for i in range(C)] + [1.0] for k in others]
    total = [[1.0] * C + [0.0]]
    bounds = [(0, None)] * C + [(None, None)]
    found = linprog([0.0] * C + [-1.0], A, [0.0] * len(A), total, [1.0], bounds)
    return -found.fun > 1e-8


@pytest.mark.parametrize("entries", [5, 9, 1000], ids=lambda n: f"entries up to {n}")
@pytest.mark.parametrize("size", [6, 14], ids=lambda n: f"up to {n} decisions")
def test_never_best_agrees_with_a_linear_programme_on_random_tables(
    entries: int, size: int
) -> None:
    g = torch.Generator().manual_seed(entries + size)
    answers: set[bool | None] = set()
    for _ in range(60 if size == 6 else 20):
        C, K = (int(torch.randint(1, size, (), generator=g)) for _ in range(2))
        D = torch.randint(0, entries, (C, K + 1), generator=g).double()
        found = best_somewhere(D)
        assert found == [is_best_somewhere(D, j) for j in range(K + 1)], D
        assert best_somewhere(1e6 * D + 3) == found
        answers.update(found)
    assert answers == {True, False}


@pytest.mark.parametrize(
    ("table", "beaten"),
    [
        (torch.cat([1 - torch.eye(40), torch.full((40, 1), 0.976)], 1), [40]),  # 39 / 40 = 0.975
        (torch.cat([1 - torch.eye(40), torch.full((40, 1), 0.974)], 1), []),
        (torch.zeros(30, 30), [*range(30)]),
        ((torch.arange(41.0)[:, None] - torch.arange(41.0)).abs(), []),
        (torch.cat([1 - torch.eye(9), torch.linspace(0.95, 0.98, 9)[:, None]], 1), [9]),
    ],
)
def test_larger_tables_have_the_answers_they_were_made_for(
    table: Tensor, beaten: list[int]
) -> None:
    D = table.double()
    assert [j for j, best in enumerate(best_somewhere(D)) if not best] == beaten
    assert [is_best_somewhere(D, j) for j in range(0, D.shape[1], 7)] == [
        j not in beaten for j in range(0, D.shape[1], 7)
    ]


def test_a_decision_is_beaten_by_one_that_is_nowhere_dearer() -> None:
    dear_at_one_truth = 2 * torch.eye(80, dtype=torch.float64)  # each elsewhere cheaper than 1
    table = torch.cat([dear_at_one_truth, torch.ones(80, 2, dtype=torch.float64)], 1)
    nobody = torch.zeros(82, dtype=torch.bool)
    assert nowhere_cheaper(table, nobody).nonzero().flatten().tolist() == [80, 81]
    pair = torch.tensor([[0.0, 0], [1, 2]], dtype=torch.float64)
    assert nowhere_cheaper(pair, nobody[:2]).tolist() == [False, True]
    assert nowhere_cheaper(pair, torch.tensor([False, True])).tolist() == [False, False]
    alike = pair[:, [0, 0]]
    assert nowhere_cheaper(alike, torch.tensor([True, False])).tolist() == [False, True]


@pytest.mark.parametrize("unit", [1e-12, 1, 1e12])
def test_what_is_best_on_average_over_two_or_eight_truths_is_found(unit: float) -> None:
    D = torch.full((12, 8), 4.0, dtype=torch.float64)
    D[:, :2] = 19
    D[:2, 0] = 1  # the cheapest on average over truths 0 and 1
    D[2:10, 1] = torch.tensor([1, 1, 1.1, 1.1, 1.2, 1.2, 1.3, 1.3])  # over truths 2 to 9, no pair
    D[[0, 1], [2, 3]] = 0
    for pair in range(4):
        D[2 + 2 * pair : 4 + 2 * pair, 4 + pair] = 0
    D += 100 * torch.arange(12, 0, -1).unsqueeze(1)  # what a truth costs in any case
    nobody = torch.zeros(8, dtype=torch.bool)
    others = torch.tensor([False] * 2 + [True] * 6)
    best = on_average(unit * D, nobody, others)
    assert best.tolist() == [True, True] + [False] * 6
    twice = torch.tensor([[-5.0, -5], [-3, -3]], dtype=torch.float64)
    assert not on_average(unit * twice, nobody[:2], nobody[:2]).any()


def test_a_decision_that_is_the_mean_of_the_others_is_beaten_without_a_game() -> None:
    table = torch.tensor([[0.0, 2, 1], [2, 0, 1]], dtype=torch.float64)
    assert best_somewhere(table, 0) == [True, True, False]


def test_games_share_the_entries_that_may_be_read() -> None:
    generator = torch.Generator().manual_seed(0)
    D = torch.randint(0, 9, (5, 8), generator=generator).double()
    undecided = [j for j, answer in enumerate(best_somewhere(D, 0)) if answer is None]
    assert undecided == [4, 6]
    _, read = wins(D, 4, INF)
    some = best_somewhere(D, read + 1)
    assert (some[4], some[6]) == (True, None)
    assert None not in best_somewhere(D, 3 * read)


@pytest.mark.parametrize("kind", ["drawn", "whole numbers", "below 0", "cyclic"])
@pytest.mark.parametrize("shape", [(1, 3), (4, 1), (2, 2), (3, 5), (6, 4), (12, 9)], ids=str)
def test_a_game_has_the_value_of_its_linear_programme(shape: tuple[int, int], kind: str) -> None:
    m, n = shape
    generator = torch.Generator().manual_seed(m + n)
    game = {
        "drawn": torch.rand(m, n, generator=generator).double(),
        "whole numbers": torch.randint(0, 3, (m, n), generator=generator).double(),
        "below 0": torch.rand(m, n, generator=generator).double() - 5,
        "cyclic": ((torch.arange(m)[:, None] - torch.arange(n)) % 3 - 1).double(),
    }[kind]
    # max v over p and v: p·A ≥ v in every column, and p a distribution
    found = linprog(
        [0.0] * m + [-1.0],
        A_ub=torch.cat([-game.T, torch.ones(n, 1).double()], 1).numpy(),
        b_ub=[0.0] * n,
        A_eq=[[1.0] * m + [0.0]],
        b_eq=[1.0],
        bounds=[(0, None)] * m + [(None, None)],
    )
    played = play(game, INF)
    assert played is not None
    value, probs, read = played
    assert value == pytest.approx(-found.fun, abs=1e-9)
    assert (probs >= 0).all()
    assert probs.sum().item() == pytest.approx(1)
    assert (probs @ game).min().item() == pytest.approx(value, abs=1e-9)
    steps, rest = divmod(read, (m + 1) * (n + 1) + STEP)
    assert (rest, play(game, read - 1)) == (0, None)
    assert 1 <= steps <= 4 * (m + n)
    again = play(game, read)
    assert again is not None
    assert again[2] == read


def test_a_small_game_takes_as_many_steps_as_it_has_columns() -> None:
    diagonal = play(torch.eye(3, dtype=torch.float64), INF)
    assert diagonal is not None
    assert diagonal[2] == 3 * (16 + STEP)
    played = play(torch.tensor([[-7.0]], dtype=torch.float64), INF)
    assert played is not None
    assert (played[0], played[1].tolist(), played[2]) == (-7, [1], 4 + STEP)


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e9])
def test_what_a_decision_takes_is_counted(unit: float) -> None:
    cheapest = unit * torch.tensor([[1.0, 3, 2], [0, 2, 5]], dtype=torch.float64)
    # Both truths are as likely at first, and nothing beats it there: four times all entries.
    assert wins(cheapest, 0, INF) == (True, 4 * 6)
    beaten = unit * torch.tensor([[2.0, 1, 9], [2, 9, 1], [1, 0, 0]], dtype=torch.float64)
    beaten[:2, 0] += 4 * unit
    answer, read = wins(beaten, 0, INF)
    assert answer is False
    assert wins(beaten, 0, read) == (False, read)
    assert wins(beaten, 0, read - 1) == (None, read - 1)
    assert read == wins(beaten / unit, 0, INF)[1]


def test_what_was_left_out_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    costs = lm.Dense([[0, 2, 1.1, 9], [2, 0, 1.1, 9], [9, 9, 9, 0]], decisions=["a", "b", "c", "d"])
    assert kinds(costs) == ["never best"]
    monkeypatch.setattr("lossmatrix.costs.check.best_somewhere", lambda D: best_somewhere(D, 0))
    (finding,) = costs.check()
    assert finding.kind == "not checked"
    assert "make c the only best decision" in str(finding)
    assert "for 1 of 4 decisions" in str(finding)


@pytest.mark.parametrize("diagonal", [True, False])
def test_a_table_of_a_thousand_classes_is_checked_in_seconds(diagonal: bool) -> None:
    D = torch.rand(1000, 1000, generator=torch.Generator().manual_seed(0)).double()
    if diagonal:
        D.fill_diagonal_(0)
    start = time.process_time()
    assert all(best_somewhere(D))
    assert time.process_time() - start < 10


# ---- published matrices --------------------------------------------------------------------------


def golden(folder: Path) -> dict[str, list[str]]:
    """The table of computed properties, by file."""
    lines = (folder / "cost_matrices" / "README.md").read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if "never strictly best |" in line)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[start + 2 :]]
    return {row[0]: row[1:] for row in rows if len(row) == 6}


def read_costs(path: Path) -> lm.Dense:
    costs = lm.Dense.from_csv(path)
    if "reward" not in path.name:
        return costs
    return lm.Dense.from_gains(costs.to_dense(), costs.classes, costs.decisions)


def is_metric(D: Tensor) -> bool:
    return bool((D.unsqueeze(1) <= D.unsqueeze(2) + D.unsqueeze(0) + 1e-12).all())


def test_published_matrices_have_the_properties_computed_elsewhere(data_dir: Path) -> None:
    table = golden(data_dir)
    assert len(table) == 30
    for name, (shape, symmetry, triangle, beaten, prior) in table.items():
        costs = read_costs(data_dir / "cost_matrices" / name)
        D = costs.to_dense()
        assert shape == f"{costs.num_classes}x{costs.num_decisions}", name
        square = costs.num_classes == costs.num_decisions
        assert symmetry == ("symmetric" if square and costs.is_symmetric else "not symmetric"), name
        if triangle:
            verdict = "triangle inequality holds" if is_metric(D.mT) else "violates"
            assert triangle.startswith(verdict.split()[0]), name
        found = [f.message for f in costs.check() if f.kind == "never best"]
        never = re.search("make (.*) the only best", found[0])[1] if found else "none"
        assert never == beaten, name
        probs = torch.full((costs.num_classes,), 1 / costs.num_classes, dtype=torch.float64)
        expected = costs.expected(probs)
        action, cost = re.fullmatch(r"(.*) \((.*)\)", prior).groups()
        best = int((expected <= expected.min() + 1e-12).int().argmax())
        assert costs.decisions[best] == action, name
        assert expected.min().item() == pytest.approx(float(cost), abs=5.1e-5), name
        assert "transposed" not in kinds(costs), name


def test_published_trees_give_their_published_costs(data_dir: Path) -> None:
    for tree_file, cost_file, leaves, height in [
        ("trees/cityscapes.csv", "trees/cityscapes_cost.csv", 19, 2),
        ("cifar100_probs/tree.csv", "cifar100_probs/cost.csv", 100, 2),
        ("cifar100_probs/tree_3level.csv", "cifar100_probs/cost_3level.csv", 100, 3),
        ("clinc150/tree.csv", "clinc150/cost_tree.csv", 151, 2),
        ("trees/cifar100_wordnet.csv", None, 100, 11),
        ("trees/tinyimagenet200_wordnet.csv", None, 200, 11),
    ]:
        with open(data_dir / tree_file, newline="") as file:
            edges = [(row["child"], row["parent"]) for row in csv.DictReader(file)]
        tree = lm.Tree.from_edges(edges)
        assert (tree.num_classes, tree.height) == (leaves, height), tree_file
        if cost_file is not None:
            costs = lm.Dense.from_csv(data_dir / cost_file)
            ordered = lm.Tree.from_edges(edges, classes=costs.classes)
            assert torch.equal(ordered.to_dense(), costs.to_dense()), tree_file
