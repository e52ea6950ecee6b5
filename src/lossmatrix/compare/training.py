# SPDX-License-Identifier: BSD-3-Clause
"""Small networks and how each is trained; nothing but the criterion differs between losses."""
# PyTorch's optimisers and random numbers carry no types:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import LBFGS, AdamW
from torch.optim.lr_scheduler import CosineAnnealingLR

from lossmatrix.compare.task import ModelFactory, Network, of_rows
from lossmatrix.costs import CostMatrix
from lossmatrix.nn import Criterion

HIDDEN = 64
PREDICTED = 4096  # rows whose logits are computed at once
WEIGHT_DECAY = 1e-2
PATIENT = 4  # a quarter of the epochs without a lower validation loss ends the training
MOST_STEPS = 1000  # of the linear model, which stops by itself where the gradient is flat


@dataclass(frozen=True)
class Schedule:
    """How long AdamW trains a network at most, and in which steps; other models need none of it."""

    epochs: int = 80
    batch_size: int = 128
    learning_rate: float = 3e-3


@dataclass(frozen=True)
class TrainingRows:
    """Rows of one purpose: features (n, …), target (n,), weight (n,), and costs, maybe per row."""

    features: Tensor
    target: Tensor
    weight: Tensor
    costs: CostMatrix

    def loss(
        self, criterion: Criterion, logits: Tensor, rows: Tensor | slice = slice(None)
    ) -> Tensor:
        """The criterion on logits of some rows, or of all."""
        own = None if self.costs.num_samples is None else of_rows(self.costs, rows)
        return criterion(logits, self.target[rows], sample_weight=self.weight[rows], costs=own)


class LinearSoftmax(nn.Linear):
    """The linear model in float64, which is trained to its optimum, from zero."""

    def reset_parameters(self) -> None:
        """Begin where all classes are alike, so that nothing depends on a seed."""
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)


def build(
    network: Network | ModelFactory, num_features: int, num_classes: int, seed: int
) -> nn.Module:
    """A linear softmax model in float64, two layers of 64 ReLU in float32, or the user's model.

    It sets PyTorch's seed, which also the order of the batches follows from.
    """
    torch.manual_seed(seed)
    if callable(network):
        return network()
    assert network != "boosted"  # trees are no network
    if network == "linear":
        return LinearSoftmax(num_features, num_classes, dtype=torch.float64)
    return nn.Sequential(
        nn.Linear(num_features, HIDDEN),
        nn.ReLU(),
        nn.Linear(HIDDEN, HIDDEN),
        nn.ReLU(),
        nn.Linear(HIDDEN, num_classes),
    )


def train(
    network: nn.Module,
    criterion: Criterion,
    fit: TrainingRows,
    validation: TrainingRows,
    schedule: Schedule,
    step: float = 1.0,
) -> bool:
    """Train in place; False where the loss became infinite or NaN.

    `step` multiplies the ridge of a linear model, the learning rate of any other.
    """
    if isinstance(network, LinearSoftmax):
        return train_linear(network, criterion, fit, step)
    return train_by_epochs(network, criterion, fit, validation, schedule, step)


def train_linear(
    network: LinearSoftmax, criterion: Criterion, fit: TrainingRows, step: float
) -> bool:
    """Full-batch L-BFGS until the gradient is flat, with the ridge of logistic regression.

    The ridge ½‖W‖² / n (scikit-learn's default) makes the optimum exist on separable classes.
    """
    optimizer = LBFGS(
        network.parameters(),
        max_iter=MOST_STEPS,
        tolerance_grad=1e-6,
        tolerance_change=1e-12,
        history_size=20,
        line_search_fn="strong_wolfe",
    )

    def objective() -> Tensor:
        optimizer.zero_grad()
        loss = fit.loss(criterion, network(fit.features))
        loss = loss + step * network.weight.square().sum() / (2 * len(fit.target))
        loss.backward()
        return loss

    optimizer.step(objective)
    return math.isfinite(objective().item())


def train_by_epochs(
    network: nn.Module,
    criterion: Criterion,
    fit: TrainingRows,
    validation: TrainingRows,
    schedule: Schedule,
    step: float,
) -> bool:
    """AdamW over shuffled batches; the weights of the epoch with the least validation loss.

    The rate falls as a cosine from its start to 0 after all epochs; training ends before them where
    a quarter of them has gone by without a lower validation loss.
    """
    rate = step * schedule.learning_rate
    # fused: in a network this small, a third of a step is the calls of one operator after another
    optimizer = AdamW(network.parameters(), lr=rate, weight_decay=WEIGHT_DECAY, fused=True)
    steps = schedule.epochs * num_batches(len(fit.target), schedule.batch_size)
    cosine = CosineAnnealingLR(optimizer, steps)
    least, best, best_epoch = math.inf, network.state_dict(), 0
    for epoch in range(schedule.epochs):
        network.train()
        for rows in batches(len(fit.target), schedule.batch_size):
            optimizer.zero_grad()
            logits = network(fit.features[rows])
            fit.loss(criterion, logits, rows).backward()
            optimizer.step()
            cosine.step()
        loss = validation.loss(criterion, predict(network, validation.features)).item()
        if not math.isfinite(loss):
            return False
        if loss < least:
            least, best_epoch = loss, epoch
            best = {name: value.clone() for name, value in network.state_dict().items()}
        elif PATIENT * (epoch - best_epoch) >= schedule.epochs:
            break
    network.load_state_dict(best)
    return True


def batches(count: int, size: int) -> Iterator[Tensor]:
    """Row numbers in a new order, in batches of equal size, up to one row."""
    yield from torch.randperm(count).tensor_split(num_batches(count, size))


def num_batches(count: int, size: int) -> int:
    """How many batches of at most so many rows an epoch has."""
    return math.ceil(count / size)


def predict(network: nn.Module, features: Tensor) -> Tensor:
    """Logits (n, C) of a model at rest: dropout and its like are off, no derivative is kept."""
    network.eval()
    with torch.no_grad():
        return torch.cat([network(rows) for rows in features.split(PREDICTED)])
