# SPDX-License-Identifier: BSD-3-Clause
"""`compare` from Python: one's own model and tensors, and what it says when they do not fit."""

from functools import partial
from pathlib import Path

import numpy
import pytest
import torch
from recipes import recipes
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import lossmatrix as lm
from lossmatrix.compare import compare
from lossmatrix.compare.task import UserInputError

COSTS = [[0, 1, 9], [2, 0, 4], [1, 3, 0]]
SHORT = {"seeds": 2, "epochs": 3, "tune": 1, "batch_size": 32}


def rows(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images of 1 × 4 × 4, whose class is their brightest row but the last."""
    target = torch.arange(count) % 3
    images = torch.randn(count, 1, 4, 4, generator=torch.Generator().manual_seed(seed))
    images[torch.arange(count), 0, target] += 1.5
    return images, target


class Small(nn.Module):
    """Convolution, normalisation and dropout: what behaves otherwise in training."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.2), nn.Flatten(), nn.Linear(16, 3)
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layers(images)


class Pairs(Dataset):
    """A map-style data set."""

    def __init__(self, images: torch.Tensor, target: torch.Tensor) -> None:
        self.images, self.target = images, target

    def __len__(self) -> int:
        return len(self.target)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.images[index], int(self.target[index])


TRAIN, TEST = rows(120, 0), rows(61, 1)


def test_a_model_is_compared_on_the_test_rows_and_prints_its_table(tmp_path: Path) -> None:
    comparison = compare(Small, TRAIN, TEST, COSTS, [lm.ExpectedCost()], **SHORT)
    assert comparison.target.tolist() == TEST[1].tolist()
    assert comparison.split_kind == "stored parts"
    assert [r.method for r in comparison.results] == ["CrossEntropy"] * 5 + ["ExpectedCost"]
    assert "Small on 61 test rows" in str(comparison)
    assert "temperature + Bayes" in str(comparison)
    with pytest.raises(UserInputError, match=r"an HTML file: name it \.html, not results\.json"):
        comparison.write_report(tmp_path / "results.json")  # which it would have overwritten
    assert not [*tmp_path.iterdir()]
    comparison.write_report(tmp_path / "report.html")
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"report.html", "results.json", "results.parquet"}


def test_the_guides_call_compares_a_model(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("lossmatrix.compare.compare", partial(compare, **SHORT))
    names: dict[str, object] = {"lm": lm, "make_model": Small, "costs": COSTS}
    names |= zip(("train_x", "train_y", "test_x", "test_y"), TRAIN + TEST, strict=True)
    exec(recipes("docs/guide/compare.md")["A model of your own"], names)
    assert "Small on 61 test rows" in capsys.readouterr().out


@pytest.mark.parametrize("kind", [TensorDataset, Pairs, lambda *t: DataLoader(Pairs(*t), 8)])
def test_data_sets_and_loaders_give_what_their_tensors_give(kind: type) -> None:
    mine = compare(Small, kind(*TRAIN), kind(*TEST), COSTS, [], **SHORT)
    plain = compare(Small, TRAIN, TEST, COSTS, [], **SHORT)
    for result, other in zip(mine.results, plain.results, strict=True):
        assert result.decisions.tolist() == other.decisions.tolist()


def test_a_model_made_by_a_closure_trains_in_processes() -> None:
    width = 5
    comparison = [
        compare(
            lambda: nn.Sequential(
                nn.Flatten(), nn.Linear(16, width), nn.Tanh(), nn.Linear(width, 3)
            ),
            TRAIN,
            TEST,
            COSTS,
            [],
            **SHORT,
            jobs=jobs,
        )
        for jobs in (1, 2)
    ]
    one, two = (each.results[2].decisions.tolist() for each in comparison)
    assert one == two


def test_a_batch_of_one_row_is_never_made() -> None:
    odd = rows(161, 0)  # 129 of them train
    compare(Small, odd, TEST, COSTS, [], seeds=1, epochs=1, tune=1, batch_size=128)


def test_costs_of_each_row_are_those_of_train_and_then_of_test() -> None:
    cubes = torch.tensor(COSTS, dtype=torch.float64).repeat(181, 1, 1)
    same = compare(Small, TRAIN, TEST, lm.PerExample.matrices(cubes), **SHORT)
    shared = compare(Small, TRAIN, TEST, COSTS, **SHORT)
    alike = [row for row in shared.results if row.rule != "decision scaling + Bayes"]
    for mine, other in zip(same.results, alike, strict=True):  # which has no part in such costs
        assert mine.normalized_cost == pytest.approx(other.normalized_cost, abs=0.02)
    cubes[120:, :, 0] = 0  # in the test rows class 0 is never a mistake
    cubes[120:, :, 1:] = 7
    free = compare(Small, TRAIN, TEST, lm.PerExample.matrices(cubes), **SHORT)
    assert "Deciding 0 for every row is never a mistake" in str(free)


@pytest.mark.parametrize(
    ("train", "costs", "sentence"),
    [
        (TRAIN[0], COSTS, "The rows of train must be pairs"),
        ((TRAIN[0], TRAIN[1].float()), COSTS, "torch.float32 target"),
        ((TRAIN[0], TRAIN[1][:-1]), COSTS, r"target of shape \(119,\)"),
        (TRAIN, [[0, 1], [1, 0]], "class indices from 0 to 1"),
        ((TRAIN[0].flatten(1), TRAIN[1]), COSTS, "give features of one shape"),
        (TRAIN, lm.PerExample.matrices(torch.rand(5, 3, 3)), "5 matrices of costs for 120 rows"),
    ],
)
def test_rows_that_do_not_fit_are_one_sentence(train: object, costs: object, sentence: str) -> None:
    with pytest.raises(UserInputError, match=sentence) as error:
        compare(Small, train, TEST, costs, [], **SHORT)
    assert "\n" not in str(error.value)


def test_probabilities_of_each_row_follow_its_own_costs() -> None:
    random = numpy.random.default_rng(0)
    cubes = torch.as_tensor(random.uniform(0, 5, (181, 3, 3)))
    comparison = compare(Small, TRAIN, TEST, lm.PerExample.matrices(cubes), [], **SHORT)
    result = comparison.results[2]
    expected = numpy.einsum("nc,nck->nk", result.probs, cubes[120:].numpy()).argmin(1)
    assert result.decisions[0].tolist() == expected.tolist()
    realised = cubes[120:].numpy()[numpy.arange(61), TEST[1], result.decisions]
    assert result.average_cost == pytest.approx(realised.mean())
    numpy.testing.assert_array_equal(comparison.row_costs, cubes[120:])
