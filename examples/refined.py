# SPDX-License-Identifier: BSD-3-Clause
"""
Refine a model that is too small
================================

A straight line cannot part a group from others at both its sides. Cross-entropy puts it where the
likelihood is highest; refined, it stands where its decisions cost least.
"""

import torch
from matplotlib import pyplot
from sklearn.datasets import make_blobs

import lossmatrix as lm

centers = [[-2.0, 0.0], [0.0, 0.0], [2.0, 0.5]]
X, group = make_blobs(6000, centers=centers, cluster_std=0.7, random_state=0)
X, y = torch.tensor(X, dtype=torch.float32), torch.tensor(group == 1).long()
train, test = slice(0, 2000), slice(2000, None)
costs = lm.Dense([[0, 1], [4, 0]], classes=["others", "middle"])

torch.manual_seed(0)
model = torch.nn.Linear(2, 2)
cross_entropy = lm.Criterion(lm.CrossEntropy(), costs)
optimizer = torch.optim.LBFGS(model.parameters(), max_iter=200, line_search_fn="strong_wolfe")


def closure():
    optimizer.zero_grad()
    loss = cross_entropy(model(X[train]), y[train])
    loss.backward()
    return loss


optimizer.step(closure)

# %%
# Folds of the training rows say how far to go, and whether to go at all.

refinement = lm.refine(model, [(X[train], y[train])], costs)
print(refinement)

# %%
# What both decide on rows that neither has seen, by the least expected cost.

figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
axes.scatter(*X[test][:1500].T, c=y[test][:1500], s=4, cmap="coolwarm", alpha=0.5)
for name, each, style in (("cross-entropy", model, "--"), ("refined", refinement.model, "-")):
    with torch.no_grad():
        average = lm.average_cost(cross_entropy.decide(each(X[test])), y[test], costs)
        grid = torch.cartesian_prod(torch.linspace(-4, 4, 200), torch.linspace(-2.5, 3, 200))
        decided = cross_entropy.decide(each(grid)).reshape(200, 200).T
    print(f"{name}: {average:.3f} a row")
    axes.contour(
        torch.linspace(-4, 4, 200), torch.linspace(-2.5, 3, 200), decided.double(), [0.5],
        colors="black", linestyles=style,
    )  # fmt: skip
axes.set(title="dashed: cross-entropy, solid: refined")
