# SPDX-License-Identifier: BSD-3-Clause
"""
How exact must prices be?
=========================

Nobody knows what a mistake costs to the cent. Decide by prices that are wrong by a factor, and
see what that costs in the right ones.
"""

import torch
from matplotlib import pyplot
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict

import lossmatrix as lm

digits = load_digits()
difference = torch.arange(10)[None, :] - torch.arange(10)[:, None]  # decided − true
costs = torch.where(difference > 0, 4.0, -1.0) * difference
X = digits.data[:, 16:40] / 16  # the middle of the picture alone
model = LogisticRegression(C=1.0, max_iter=300)
probs = torch.from_numpy(cross_val_predict(model, X, digits.target, method="predict_proba"))
target = torch.from_numpy(digits.target)

# %%
# Every price is multiplied by exp(s · normal): at s = 1 a third of them is off by more than a
# factor of e.

generator = torch.Generator().manual_seed(0)
spreads = [0.0, 0.25, 0.5, 1.0, 1.5, 2.0]
paid = []
for spread in spreads:
    tries = []
    for _ in range(20):
        wrong = costs * (spread * torch.randn(10, 10, generator=generator)).exp()
        tries.append(lm.average_cost(lm.decide(probs, wrong), target, costs).item())
    paid.append(sorted(tries))
    print(f"s = {spread}: {sum(tries) / 20:.3f}, from {min(tries):.3f} to {max(tries):.3f}")
likeliest = lm.average_cost(probs.argmax(1), target, costs).item()
print(f"no prices, the likeliest digit: {likeliest:.3f}")

# %%
# Each price is wrong by itself here. Off by a factor of 1.6 (s = 0.5) they are still better than
# none; by a factor of e they are worse: then decide for the likeliest, and ask for prices.

figure, ax = pyplot.subplots(layout="constrained")
ax.fill_between(spreads, [each[1] for each in paid], [each[-2] for each in paid], alpha=0.3)
ax.plot(spreads, [sum(each) / 20 for each in paid], label="decided by wrong prices")
ax.axhline(likeliest, linestyle=":", color="grey", label="likeliest")
ax.set(xlabel="s, the spread of the log of the factor", ylabel="average cost in true prices")
ax.legend()
