# SPDX-License-Identifier: BSD-3-Clause
"""
Many labels, a price for each
=============================

A news desk tags articles. A wrong tag annoys a little everywhere; a missing tag costs more, and
for some tags much more. Every label gets costs, and so a threshold, of its own.
"""

import torch
from matplotlib import pyplot
from sklearn.datasets import make_multilabel_classification

import lossmatrix as lm

# %%
# Articles from scikit-learn's generator: counts of 20 words, 5 tags.

X, y = make_multilabel_classification(3000, n_classes=5, n_labels=2, length=30, random_state=0)
X, y = torch.from_numpy(X).float(), torch.from_numpy(y).float()
missed = torch.tensor([1.0, 2.0, 4.0, 10.0, 30.0])
labels = torch.zeros(5, 2, 2)  # for each label: rows the truth, 0 and 1
labels[:, 0, 1] = 1
labels[:, 1, 0] = missed
criterion = lm.BinaryCriterion(lm.CrossEntropy() + lm.DecisionScore(), labels)

# %%
# One logit for each label, and a criterion where `nn.BCEWithLogitsLoss` stood.

torch.manual_seed(0)
model = torch.nn.Linear(20, 5)
optimizer = torch.optim.Adam(model.parameters(), 0.05)
for _ in range(300):
    optimizer.zero_grad()
    criterion(model(X[:1500]), y[:1500]).backward()
    optimizer.step()

# %%
# Decided at a threshold of one half, and at those of the costs.

with torch.no_grad():
    logits = model(X[1500:])
truth = y[1500:].long()
decisions = {"p > 1/2": (logits > 0).long(), "by cost": criterion.decide(logits)}
figure, ax = pyplot.subplots(layout="constrained")
for place, (name, decision) in enumerate(decisions.items()):
    paid = [
        lm.average_cost(decision[:, k], truth[:, k], labels[k]).item() for k in range(len(labels))
    ]
    print(f"{name}: {sum(paid):.3f} an article")
    ax.bar(torch.arange(5) + 0.4 * place, paid, 0.4, label=name)
ax.set_xticks(torch.arange(5) + 0.2, [f"missed costs {price:.0f}" for price in missed], rotation=20)
ax.set_ylabel("average cost of the label")
ax.legend()
