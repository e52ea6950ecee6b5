# SPDX-License-Identifier: BSD-3-Clause
"""
A scikit-learn pipeline, cross-validated by cost, with weights
==============================================================

Rows that stand for many others have weights. They are metadata of scikit-learn: asked for by
name, split with the rows, and given to the fit as well as to the score.
"""

import numpy
import sklearn
from matplotlib import pyplot
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import lossmatrix as lm
from lossmatrix.sklearn import BayesDecisionClassifier, average_cost_scorer

cells = load_breast_cancer()
X, y = cells.data[:, :4], cells.target_names[cells.target]
weight = numpy.random.default_rng(0).integers(1, 5, size=len(y))  # patients a row stands for
costs = lm.Dense([[0, 1], [20, 0]], classes=["benign", "malignant"])

# %%
# The same pipeline, decided by the likelier class, by cost, and by cost after calibration.

with sklearn.config_context(enable_metadata_routing=True):
    scale = StandardScaler().set_fit_request(sample_weight=True)
    logistic = LogisticRegression(C=0.1).set_fit_request(sample_weight=True)
    pipeline = make_pipeline(scale, logistic)
    models = {
        "likeliest": pipeline,
        "by cost": BayesDecisionClassifier(pipeline, costs),
        "calibrated, by cost": BayesDecisionClassifier(pipeline, costs, calibration="sigmoid"),
    }
    scorer = average_cost_scorer(costs).set_score_request(sample_weight=True)
    scores = {
        name: -cross_validate(model, X, y, cv=5, scoring=scorer, params={"sample_weight": weight})[
            "test_score"
        ]
        for name, model in models.items()
    }
for name, costs_of_folds in scores.items():
    print(f"{name}: {costs_of_folds.mean():.3f} a patient")

# %%
# Five folds each.

figure, ax = pyplot.subplots(layout="constrained")
ax.boxplot(list(scores.values()), tick_labels=list(scores))
ax.set_ylabel("average cost")
