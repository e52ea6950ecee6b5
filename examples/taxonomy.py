# SPDX-License-Identifier: BSD-3-Clause
"""
A taxonomy, and a decision that is an inner node
================================================

Costs are the level at which truth and decision part. Where species cannot be told apart, saying
the genus is an answer too: a decision that is no class, with a price of its own for every truth.
"""

import torch
from matplotlib import pyplot
from sklearn.linear_model import LogisticRegression

import lossmatrix as lm

paths = [
    ("cat", "lynx", "iberian lynx"),
    ("cat", "lynx", "bobcat"),
    ("cat", "big cat", "lion"),
    ("cat", "big cat", "tiger"),
    ("dog", "wolf", "grey wolf"),
    ("dog", "wolf", "red wolf"),
]
tree = lm.Tree(paths)
print(tree)

# %%
# Animals by a rule: families lie far apart, genera closer, species closest.

generator = torch.Generator().manual_seed(0)
centres: dict[tuple[str, ...], torch.Tensor] = {(): torch.zeros(6)}
for path in paths:
    for depth, spread in enumerate((4.0, 2.0, 0.6), start=1):
        step = spread * torch.randn(6, generator=generator)
        centres.setdefault(path[:depth], centres[path[: depth - 1]] + step)
target = torch.randint(6, (2400,), generator=generator)
X = torch.stack([centres[path] for path in paths])[target]
X = X + torch.randn(X.shape, generator=generator)
model = LogisticRegression(max_iter=1000).fit(X[:800].numpy(), target[:800].numpy())
probs = torch.from_numpy(model.predict_proba(X[800:].numpy()))

# %%
# To say the genus costs 0.3 where it is that of the truth, and what a species of it costs
# elsewhere.

genera = list(dict.fromkeys(path[:2] for path in paths))
columns = [tree.to_dense()]
for genus in genera:
    member = next(path[-1] for path in paths if path[:2] == genus)
    inside = torch.tensor([path[:2] == genus for path in paths])
    columns.append(torch.where(inside, 0.3, tree.to_dense()[:, tree.index([member])[0]])[:, None])
decisions = [*tree.classes, *(f"some {genus[-1]}" for genus in genera)]
costs = lm.Dense(torch.cat(columns, 1), classes=tree.classes, decisions=decisions)

# %%
# Decided among species only, and among species and genera.

figure, places = pyplot.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
for ax, table in zip(places, (tree, costs), strict=True):
    decision = lm.decide(probs, table)
    average = lm.average_cost(decision, target[800:], table)
    print(f"{table.num_decisions} decisions: {average:.3f}")
    lm.plot.CostConfusionDisplay.from_predictions(decision, target[800:], table, ax=ax)
    ax.set_title(f"average cost {average:.3f}")
