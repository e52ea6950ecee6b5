# SPDX-License-Identifier: BSD-3-Clause
"""
Fraud: every payment has costs of its own
=========================================

A fraud that passes costs what was paid, and to ask the customer costs 5. So each row has a matrix
of its own, and the threshold falls with the amount.
"""

import torch
from matplotlib import pyplot
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression

import lossmatrix as lm

# %%
# Payments by a rule: two classes from scikit-learn, and amounts that are mostly small.

X, fraud = make_classification(6000, weights=[0.95], class_sep=0.8, flip_y=0.02, random_state=0)
generator = torch.Generator().manual_seed(0)
amount = torch.randn(6000, generator=generator, dtype=torch.float64).mul(1.2).add(4).exp()
cubes = torch.zeros(6000, 2, 2, dtype=torch.float64)  # for each payment: rows the truth
cubes[:, :, 1] = 5  # to ask
cubes[:, 1, 0] = amount  # to let a fraud pass

model = LogisticRegression(max_iter=1000).fit(X[:3000], fraud[:3000])
probs = torch.from_numpy(model.predict_proba(X[3000:]))
target = torch.from_numpy(fraud[3000:])
costs = lm.PerExample.matrices(cubes[3000:], classes=["honest", "fraud"])

# %%
# The likelier class, one threshold for the mean amount, and the costs of each payment.

decisions = {
    "likeliest": probs.argmax(1),
    "costs of the mean": lm.decide(probs, cubes[3000:].mean(0)),
    "costs of each": lm.decide(probs, costs),
}
for name, decision in decisions.items():
    average = lm.average_cost(decision, target, costs)
    print(f"{name}: {average:.2f} a payment, {(decision == 1).double().mean():.1%} are asked")

# %%
# Asked is what lies above p · amount = 5.

figure, ax = pyplot.subplots(layout="constrained")
for decision, name in enumerate(["passes", "is asked"]):
    rows = decisions["costs of each"] == decision
    ax.loglog(amount[3000:][rows], probs[rows, 1], ".", markersize=3, label=name)
ax.set(xlabel="amount", ylabel="probability of a fraud")
ax.legend()
