# SPDX-License-Identifier: BSD-3-Clause
"""Two small networks and how each is trained; nothing but the criterion differs between losses."""
# PyTorch's optimisers and random numbers carry no types:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import LBFGS, AdamW

from lossmatrix.compare.task import Network
from lossmatrix.nn import Criterion

HIDDEN = 64
BATCH = 128
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 1e-2
MOST_STEPS = 1000  # of the linear model, which stops by itself where the gradient is flat


@dataclass(frozen=True)
class Part:
    """The rows of one purpose: features (n, p), target (n,), weight (n,)."""

    features: Tensor
    target: Tensor
    weight: Tensor


def build(network: Network, num_features: int, num_classes: int, seed: int) -> nn.Module:
    """A linear softmax model in float64, or two layers of 64 ReLU in float32.

    It sets PyTorch's seed, which also the order of the batches follows from.
    """
    torch.manual_seed(seed)
    if network == "linear":
        return nn.Linear(num_features, num_classes, dtype=torch.float64)
    return nn.Sequential(
        nn.Linear(num_features, HIDDEN),
        nn.ReLU(),
        nn.Linear(HIDDEN, HIDDEN),
        nn.ReLU(),
        nn.Linear(HIDDEN, num_classes),
    )


def train(
    network: nn.Module, criterion: Criterion, fit: Part, validation: Part, epochs: int
) -> bool:
    """Train in place; False where the loss became infinite or NaN."""
    if isinstance(network, nn.Linear):
        return train_linear(network, criterion, fit)
    return train_mlp(network, criterion, fit, validation, epochs)


def train_linear(network: nn.Linear, criterion: Criterion, fit: Part) -> bool:
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
        loss = criterion(network(fit.features), fit.target, sample_weight=fit.weight)
        loss = loss + network.weight.square().sum() / (2 * len(fit.target))
        loss.backward()
        return loss

    optimizer.step(objective)
    return math.isfinite(objective().item())


def train_mlp(
    network: nn.Module, criterion: Criterion, fit: Part, validation: Part, epochs: int
) -> bool:
    """AdamW over shuffled batches; the weights of the epoch with the least validation loss."""
    optimizer = AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    least, best = math.inf, network.state_dict()
    for _ in range(epochs):
        order = torch.randperm(len(fit.target))
        for rows in torch.split(order, BATCH):
            optimizer.zero_grad()
            logits = network(fit.features[rows])
            criterion(logits, fit.target[rows], sample_weight=fit.weight[rows]).backward()
            optimizer.step()
        with torch.no_grad():
            logits = network(validation.features)
            loss = criterion(logits, validation.target, sample_weight=validation.weight).item()
        if not math.isfinite(loss):
            return False
        if loss < least:
            least = loss
            best = {name: value.clone() for name, value in network.state_dict().items()}
    network.load_state_dict(best)
    return True
