# SPDX-License-Identifier: BSD-3-Clause
"""
A cost matrix from a business case
==================================

A merchant buys wine by the barrel and sells it as one of three labels. What a bottle earns
depends on what is in it and on what it is sold as; costs are what is lost against the best label.
"""

import torch
from matplotlib import pyplot
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import lossmatrix as lm

# %%
# Gains are what people know. Rows are what is in the bottle. A good wine sold cheaply loses the
# margin; a cheap wine under the best label comes back, with the customer's next ten orders.

names = ["barolo", "grignolino", "barbera"]
gains = [[30, 8, 6], [-40, 9, 6], [-60, 2, 7]]
costs = lm.Dense.from_gains(gains, classes=names).regret()
print(costs)

# %%
# Two measurements and nothing else: a classifier that is often in doubt.

wine = load_wine()
X, target = wine.data[:, [0, 2]], torch.from_numpy(wine.target)
model = make_pipeline(StandardScaler(), LogisticRegression())
probs = torch.from_numpy(cross_val_predict(model, X, wine.target, method="predict_proba"))

# %%
# The same probabilities, decided in two ways.

decisions = {"likeliest": probs.argmax(1), "least expected cost": lm.decide(probs, costs)}
figure, places = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
for ax, (name, decision) in zip(places, decisions.items(), strict=True):
    lm.plot.CostConfusionDisplay.from_predictions(decision, target, costs, ax=ax)
    average = lm.average_cost(decision, target, costs)
    right = (decision == target).double().mean()
    ax.set_title(f"{name}: {average:.2f} a bottle, {right:.0%} right")
    print(f"{name}: {average:.2f} a bottle, {right:.0%} right")
