# SPDX-License-Identifier: BSD-3-Clause
"""
Abstain, and ask a human
========================

A second reading of a biopsy costs something, and is right. At which price is it worth asking, how
often, and what does it save?
"""

import torch
from matplotlib import pyplot
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import lossmatrix as lm

cells = load_breast_cancer()  # 0 is malignant
costs = lm.Dense([[0, 20], [1, 0]], classes=["malignant", "benign"])
model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1))
X = cells.data[:, :2]  # radius and texture alone: a model that is often in doubt
probs = torch.from_numpy(cross_val_predict(model, X, cells.target, method="predict_proba"))
target = torch.from_numpy(cells.target)

# %%
# Decision 2 is to ask. What comes out is measured with the costs that price it.

alone = lm.average_cost(lm.decide(probs, costs), target, costs)
print(f"never asked: {alone:.3f} a patient")
for price in (0.1, 0.3, 0.5):
    asked = lm.decide_or_abstain(probs, costs, abstain_cost=price)
    average = lm.average_cost(asked, target, costs.with_abstain(price))
    print(f"asked at {price}: {average:.3f} a patient, {(asked == 2).double().mean():.0%} asked")

# %%
# Left, the average cost for every share that abstains. Right, what the surest rows cost.

figure, places = pyplot.subplots(1, 2, figsize=(11, 4), layout="constrained")
lm.plot.AbstentionCurveDisplay.from_predictions(probs, target, costs, 0.3, ax=places[0])
lm.plot.RiskCurveDisplay.from_predictions(probs, target, costs, ax=places[1])
