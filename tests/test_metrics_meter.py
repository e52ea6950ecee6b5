# SPDX-License-Identifier: BSD-3-Clause
"""CostMeter adds up over batches and ranks to what the metrics say of all rows at once."""

import importlib
import pickle
import subprocess
import sys

import pytest
import torch
from torch.multiprocessing.spawn import spawn

pytest.importorskip("torchmetrics")

from lossmatrix.costs import Dense, Ordinal, PerExample
from lossmatrix.meter import CostlyPair, CostMeter
from lossmatrix.metrics import average_cost

COSTS = Dense(
    [[0.5, 3, 7, 2], [11, 0.25, 4, 2.5], [6, 9, 1, 2.75]],
    classes=["cat", "lynx", "truck"],
    decisions=["cat", "lynx", "truck", "ask"],
)


def happened(N=60, seed=0):
    generator = torch.Generator().manual_seed(seed)
    decision = torch.randint(4, (N,), generator=generator)
    target = torch.randint(3, (N,), generator=generator)
    return decision, target, torch.rand(N, generator=generator)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("sizes", [[60], [1] * 60, [0, 7, 53]])
def test_batches_add_up_to_the_average_cost_of_all_rows(sizes, weighted):
    decision, target, weight = happened()
    weight = weight if weighted else torch.ones(60)
    meter = CostMeter(COSTS)
    for d, t, w in zip(*(x.split(sizes) for x in (decision, target, weight)), strict=True):
        meter.update(d, t, sample_weight=w)
    torch.testing.assert_close(
        meter.compute(), average_cost(decision, target, COSTS, sample_weight=weight)
    )


def test_each_batch_is_told_its_own_average_on_the_way():
    decision, target, _ = happened()
    meter = CostMeter(COSTS)
    for d, t in zip(decision.split(20), target.split(20), strict=True):
        torch.testing.assert_close(meter(d, t), average_cost(d, t, COSTS))
    torch.testing.assert_close(meter.compute(), average_cost(decision, target, COSTS))


def test_tables_say_how_often_and_how_dear_each_pair_was():
    decision, target, weight = happened()
    meter = CostMeter(COSTS)
    meter.update(decision, target, sample_weight=weight)
    often, dear = meter.tables()
    assert often.dtype == dear.dtype == torch.float64
    for i in range(3):
        for j in range(4):
            by_hand = weight.double()[(target == i) & (decision == j)].sum()
            torch.testing.assert_close(often[i, j], by_hand)
            torch.testing.assert_close(dear[i, j], by_hand * COSTS.entry(i, j))
    often.zero_()  # a copy
    assert meter.tables()[0].sum() > 0


def test_the_pairs_that_cost_most_come_first_and_by_name():
    meter = CostMeter([[0, 1, 2], [5, 0, 1], [1, 3, 0]])
    target = torch.tensor([0, 0, 0, 0, 0, 0, 1, 1, 2, 2, 2])
    decision = torch.tensor([2, 2, 1, 0, 0, 0, 0, 1, 1, 0, 2])
    meter.update(decision, target)
    assert meter.most_expensive(3) == [
        CostlyPair("1", "0", 1.0, 5.0, 5 / 14),
        CostlyPair("0", "2", 2.0, 4.0, 4 / 14),
        CostlyPair("2", "1", 1.0, 3.0, 3 / 14),
    ]
    # equal costs in the order of the table; pairs that cost nothing are left out
    assert [pair[:2] for pair in meter.most_expensive(99)[3:]] == [("0", "1"), ("2", "0")]
    named = CostMeter(COSTS)
    named.update(torch.tensor([3, 3]), torch.tensor([1, 1]))
    assert named.most_expensive() == [CostlyPair("lynx", "ask", 2.0, 5.0, 1.0)]


def test_each_batch_may_bring_costs_of_its_own():
    decision, target, _ = happened()
    cubes = torch.rand(60, 3, 4, generator=torch.Generator().manual_seed(1))
    meter = CostMeter(COSTS)
    for part in torch.arange(60).split(25):
        meter.update(decision[part], target[part], costs=PerExample.matrices(cubes[part]))
    paid = cubes[torch.arange(60), target, decision].double()
    torch.testing.assert_close(meter.compute(), paid.mean())
    cat_as_truck = (target == 0) & (decision == 2)
    torch.testing.assert_close(meter.tables()[1][0, 2], paid[cat_as_truck].sum())


def test_ignored_rows_are_not_counted():
    meter = CostMeter(COSTS, ignore_index=255)
    meter.update(torch.tensor([1, 3, 0]), torch.tensor([0, 255, 255]))
    assert meter.compute() == 3
    assert meter.tables()[0].sum() == 1


def test_maps_are_counted_as_their_rows():
    decision, target, _ = happened()
    meter = CostMeter(COSTS)
    meter.update(decision.view(3, 4, 5), target.view(3, 4, 5))
    torch.testing.assert_close(meter.compute(), average_cost(decision, target, COSTS))


@pytest.mark.filterwarnings("ignore:The ``compute`` method:UserWarning")
def test_a_meter_forgets_on_reset_and_knows_nothing_at_first():
    meter = CostMeter(COSTS)
    assert meter.compute().isnan()
    meter.update(*happened()[:2])
    meter.reset()
    assert meter.tables()[0].sum() == 0
    assert meter.most_expensive() == []


def test_a_meter_survives_pickling_with_what_it_counted():
    meter = CostMeter(Ordinal(4))
    meter.update(torch.tensor([0, 3]), torch.tensor([1, 1]))
    again = pickle.loads(pickle.dumps(meter))
    assert again.compute() == meter.compute() == 1.5
    again.update(torch.tensor([1]), torch.tensor([1]))
    assert again.compute() == 1
    assert meter.compute() == 1.5


def test_a_refused_batch_leaves_no_trace():
    meter = CostMeter(COSTS)
    with pytest.raises(IndexError, match="decision 4 is out of range"):
        meter.update(torch.tensor([0, 4]), torch.tensor([0, 0]))
    assert meter.tables()[0].sum() == 0


def test_costs_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"PerExample costs belong to one batch.*costs=…"):
        CostMeter(PerExample(torch.rand(5, 3)))
    with pytest.raises(ValueError, match=r"shape \(4, 4\) do not fit a meter of shape \(3, 4\)"):
        CostMeter(COSTS).update(torch.tensor([0]), torch.tensor([0]), costs=Ordinal(4))
    with pytest.raises(ValueError, match='rule must be "argmax" or "bayes", got \'max\''):
        CostMeter(COSTS, rule="max")
    acts = Dense([[0, 1], [5, 0]], ["cat", "truck"], ["drive on", "brake"])
    with pytest.raises(ValueError, match="are not the classes"):
        CostMeter(acts, rule="argmax")
    CostMeter(acts, rule="bayes")
    turned = COSTS.reorder(["lynx", "cat", "truck"])
    with pytest.raises(ValueError, match="of this batch are not cat, lynx, truck"):
        CostMeter(COSTS).update(torch.tensor([0]), torch.tensor([0]), costs=turned)
    CostMeter(COSTS).update(torch.tensor([0]), torch.tensor([0]), costs=COSTS.to_dense())


# --- as torchmetrics has it ----------------------------------------------------------------------


def test_a_collection_calls_it_by_the_names_of_torchmetrics():
    import torchmetrics

    decision, target = torch.tensor([0, 2, 1, 1]), torch.tensor([0, 1, 255, 1])
    metrics = torchmetrics.MetricCollection(
        {
            "accuracy": torchmetrics.classification.MulticlassAccuracy(
                3, average="micro", ignore_index=255
            ),
            "cost": CostMeter(Ordinal(3), ignore_index=255),
            "square": CostMeter(Ordinal(3, power=2).scaled(4), ignore_index=255),
        }
    )
    right = target[target != 255]
    assert metrics(preds=right, target=right)["square"] == 0  # alike so far, and yet not one
    assert metrics(preds=decision, target=target)["cost"] == pytest.approx(1 / 3)
    found = metrics.compute()
    assert (found["cost"], found["square"]) == (pytest.approx(1 / 6), pytest.approx(4 / 6))
    metrics.reset()
    metrics.update(preds=decision, target=target)
    assert metrics.clone().compute()["square"] == pytest.approx(4 / 3)


SCORES = torch.tensor([[0.6, 0.3, 0.1], [0.5, 0.2, 0.3], [0.0, 0.1, 0.9], [0.4, 0.35, 0.25]])
DEAR_TRUCKS = [[0, 1, 2], [1, 0, 2], [9, 8, 0]]


@pytest.mark.parametrize(("rule", "decided"), [("argmax", [0, 0, 2, 0]), ("bayes", [0, 2, 2, 2])])
def test_scores_become_decisions_by_the_rule_that_was_named(rule, decided):
    target = torch.tensor([0, 2, -100, 1])
    by_hand = average_cost(torch.tensor(decided), target, DEAR_TRUCKS)
    bad = SCORES.clone()
    bad[2] = torch.nan  # ignored, and not looked at
    for scores, y in ((bad, target), (bad.T[None], target[None]), (bad.double(), target.int())):
        meter = CostMeter(DEAR_TRUCKS, rule=rule)
        assert meter(scores, y) == meter.compute() == by_hand
    meter = CostMeter(DEAR_TRUCKS, rule=rule)
    meter.update(SCORES[0], target[0])  # one sample
    meter.update(SCORES[2:3], target[2:3])  # nothing that counts
    assert meter.compute() == DEAR_TRUCKS[0][decided[0]]
    own = PerExample.matrices(torch.tensor(DEAR_TRUCKS).double().expand(4, 3, 3))
    meter.update(SCORES, target, costs=own)
    meter.reset()
    meter.update(torch.tensor(decided), target)  # decisions are taken as they are
    assert meter.compute() == by_hand


def test_scores_without_a_rule_or_of_another_shape_are_refused():
    target = torch.tensor([0, 1, 2, 0])
    with pytest.raises(
        TypeError, match=r'whole numbers, got torch.float32: .*rule="argmax"\).*"bay'
    ):
        CostMeter(DEAR_TRUCKS).update(SCORES, target)
    for scores, y in ((SCORES, target[:3]), (SCORES[:, :2], target), (SCORES[:, 0], target)):
        with pytest.raises(ValueError, match=r"do not fit a target of shape .* 3 classes in dim 1"):
            CostMeter(DEAR_TRUCKS, rule="argmax").update(scores, y)
    with pytest.raises(ValueError, match="softmax"):
        CostMeter(DEAR_TRUCKS, rule="bayes").update(3 * SCORES, target)
    with pytest.raises(TypeError, match=r"target must hold integer indices, got torch.float32"):
        CostMeter(DEAR_TRUCKS, rule="argmax").update(SCORES, target.float())


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32])
def test_indices_of_any_dtype_are_counted(dtype):
    decision, target = torch.tensor([0, 1, 1]), torch.tensor([0, 1, 0])
    meter = CostMeter([[0, 1], [5, 0]])
    assert meter(decision.to(dtype), target.to(dtype)) == pytest.approx(1 / 3)
    assert meter(decision, target.to(dtype)) == pytest.approx(1 / 3)


def test_many_classes_are_counted_in_total_and_their_pairs_are_not():
    decision, target = torch.tensor([7, 60_000, 99_999]), torch.tensor([9, 255, 99_990])
    meter = CostMeter(Ordinal(100_000), ignore_index=255)
    assert meter(decision, target, sample_weight=torch.tensor([3, 1, 1])) == (3 * 2 + 9) / 4
    meter.update(target, target)
    assert pickle.loads(pickle.dumps(meter)).compute() == 15 / 6
    for tables in (meter.tables, meter.most_expensive):
        with pytest.raises(ValueError, match=r"100000 × 100000 pairs are too many .* total only"):
            tables()
    meter.reset()
    assert meter.weight == 0
    small = CostMeter(Ordinal(4096))
    assert small.weight.shape == (4096, 4096)


def half_of_the_rows(rank, store, out):
    torch.distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
    meter = CostMeter(COSTS)
    decision, target, weight = happened()
    part = torch.arange(60) % 3 == 0 if rank else torch.arange(60) % 3 != 0
    meter.update(decision[part], target[part], sample_weight=weight[part])
    alone = meter.weight.sum().item()
    found = meter.compute(), meter.most_expensive(3), meter.tables(), alone, meter.weight.sum()
    torch.save(found, f"{out}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_ranks_agree_on_the_cost_of_all_rows(tmp_path):
    spawn(half_of_the_rows, (f"file://{tmp_path}/store", tmp_path), nprocs=2)
    decision, target, weight = happened()
    whole = CostMeter(COSTS)
    whole.update(decision, target, sample_weight=weight)
    for rank in (0, 1):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=False)
        cost, pairs, tables, alone, afterwards = found
        torch.testing.assert_close(cost, whole.compute())
        torch.testing.assert_close(tables, whole.tables())
        assert [pair[:2] for pair in pairs] == [pair[:2] for pair in whole.most_expensive(3)]
        assert afterwards.item() == alone < weight.double().sum().item()


def test_importing_lossmatrix_imports_no_torchmetrics():
    code = "import lossmatrix, sys; sys.exit('torchmetrics' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_missing_torchmetrics_is_named_with_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchmetrics", None)
    monkeypatch.delitem(sys.modules, "lossmatrix.meter")
    with pytest.raises(ImportError, match=r"pip install lossmatrix\[metrics\]"):
        importlib.import_module("lossmatrix.meter")
