# SPDX-License-Identifier: BSD-3-Clause
"""
Ordinal classes: decades of age
===============================

To take a child for a pensioner is worse than to miss by a decade. The costs are the distance in
years, and a score that reads it is added to cross-entropy.
"""

import torch
from matplotlib import pyplot

import lossmatrix as lm

# %%
# People by a rule: an age, and twelve measurements, each a wave over age with noise.

generator = torch.Generator().manual_seed(0)
age = 80 * torch.rand(3000, generator=generator)
target = (age / 10).long()
waves = torch.arange(1, 13) * age[:, None] / 60
X = waves.sin() + 0.7 * torch.randn(3000, 12, generator=generator)
costs = lm.Ordinal([f"{decade}0s" for decade in range(8)], positions=[5 + 10 * k for k in range(8)])

# %%
# One small network for each loss.


def train(loss: lm.Loss) -> tuple[lm.Criterion, torch.nn.Module]:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(12, 32), torch.nn.ReLU(), torch.nn.Linear(32, 8))
    criterion = lm.Criterion(loss, costs)
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(200):
        optimizer.zero_grad()
        criterion(model(X[:1000]), target[:1000]).backward()
        optimizer.step()
    return criterion, model.eval()


# %%
# What is decided, in years off, on people that were not trained on. All four are close here: the
# rule leaves little for a loss, or a decision, to do.

test_x, test_y = X[1000:], target[1000:]
figure, places = pyplot.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
losses = [lm.CrossEntropy(), lm.CrossEntropy() + 0.1 * lm.EnergyScore()]
for ax, loss in zip(places, losses, strict=True):
    criterion, model = train(loss)
    with torch.no_grad():
        logits = model(test_x)
    likeliest, decision = logits.argmax(1), criterion.decide(logits)
    years = [lm.average_cost(each, test_y, costs).item() for each in (likeliest, decision)]
    print(f"{loss!r}: {years[0]:.2f} years off by argmax, {years[1]:.2f} by cost")
    lm.plot.CostConfusionDisplay.from_predictions(decision, test_y, costs, ax=ax)
    ax.set_title(f"{loss!r}: {years[1]:.2f} years", fontsize=9)
