# SPDX-License-Identifier: BSD-3-Clause
"""
Boosted trees that stop when the cost stops falling
===================================================

A loss is the objective of XGBoost, and what its decisions cost on held-out rows ends the
training.
"""

import torch
import xgboost
from matplotlib import pyplot
from sklearn.datasets import load_digits

import lossmatrix as lm
from lossmatrix.boosting import CostMetric, CostObjective

# %%
# Digits of an amount of money: to pay too much costs four times what to pay too little does.

digits = load_digits()
X, y = digits.data, digits.target
difference = torch.arange(10)[None, :] - torch.arange(10)[:, None]  # decided − true
costs = lm.Dense(torch.where(difference > 0, 4.0, -1.0) * difference)

objective = CostObjective(lm.CrossEntropy() + lm.DecisionScore(), costs)
model = xgboost.XGBClassifier(
    objective=objective,
    eval_metric=CostMetric(objective),
    early_stopping_rounds=8,
    n_estimators=60,
    max_depth=4,
    n_jobs=2,
).fit(X[:900], y[:900], eval_set=[(X[900:1300], y[900:1300])], verbose=False)

# %%
# Scores go to the objective, which knows its rule. The rest of the digits were not looked at.

decision = torch.from_numpy(objective.decide(model.predict(X[1300:], output_margin=True)))
likeliest = torch.from_numpy(model.predict(X[1300:], output_margin=True).argmax(1))
target = torch.from_numpy(y[1300:])
for name, each in {"likeliest": likeliest, "least expected cost": decision}.items():
    print(f"{name}: {lm.average_cost(each, target, costs):.3f} a digit")

curve = list(model.evals_result()["validation_0"].values())[-1]
figure, ax = pyplot.subplots(layout="constrained")
ax.plot(curve)
ax.axvline(model.best_iteration, linestyle=":", color="grey")
ax.set(xlabel="round", ylabel="average cost of held-out decisions")
