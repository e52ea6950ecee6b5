# SPDX-License-Identifier: BSD-3-Clause
"""
Lightning, with the cost as the metric that stops
=================================================

Patients are sorted into three groups by how far a disease will have gone in a year. To take a grave
case for a mild one costs most. A `LightningModule` trains with these costs, `CostMeter` says after
every epoch what its decisions cost, and that ends the training.
"""

import logging
import warnings

import lightning
import torch
from lightning.pytorch.callbacks import EarlyStopping
from matplotlib import pyplot
from sklearn.datasets import load_diabetes
from torch.utils.data import DataLoader, TensorDataset

import lossmatrix as lm

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", module="lightning")  # advice on workers, for larger data

patients = load_diabetes(scaled=False)
X, progress = (torch.tensor(each, dtype=torch.float32) for each in (patients.data, patients.target))
X = (X - X.mean(0)) / X.std(0)
y = torch.bucketize(progress, progress.quantile(torch.tensor([0.5, 0.8])))
costs = lm.Dense([[0, 1, 2], [3, 0, 1], [15, 5, 0]], classes=["mild", "middling", "grave"])

# %%
# The mean of a batch is divided as PyTorch divides it. Over several devices `lm.count` has to see
# them all: the recipe stands on the page of training loops.


class Triage(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.model = torch.nn.Sequential(
            torch.nn.Linear(10, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3)
        )
        self.criterion = lm.Criterion(lm.CrossEntropy() + lm.DecisionScore(), costs)
        self.cost = lm.CostMeter(costs)
        self.history = []

    def training_step(self, batch, batch_idx):
        x, target = batch
        return self.criterion(self.model(x), target)

    def validation_step(self, batch, batch_idx):
        x, target = batch
        self.cost.update(self.criterion.decide(self.model(x)), target)
        self.log("cost", self.cost, on_epoch=True)

    def on_validation_epoch_end(self):
        self.history.append(self.cost.compute().item())

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 0.003)


lightning.seed_everything(0, verbose=False)
sets = {
    name: DataLoader(TensorDataset(X[rows], y[rows]), batch_size=30, shuffle=name == "train")
    for name, rows in {"train": slice(0, 220), "stop": slice(220, 330)}.items()
}
stop = EarlyStopping("cost", patience=5)
trainer = lightning.Trainer(
    accelerator="cpu",
    max_epochs=60,
    callbacks=[stop],
    num_sanity_val_steps=0,
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
)
triage = Triage()
trainer.fit(triage, sets["train"], sets["stop"])
print(f"{len(triage.history)} epochs, at best {stop.best_score:.3f} a patient")

# %%
# Patients that took no part in it: what their decisions cost, and whether predicted costs come
# true.

with torch.no_grad():
    logits = triage.model(X[330:])
decisions = {"likeliest": logits.argmax(1), "least expected cost": triage.criterion.decide(logits)}
for name, decision in decisions.items():
    print(f"{name}: {lm.average_cost(decision, y[330:], costs):.3f} a patient")

figure, places = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
places[0].plot(triage.history)
places[0].set(xlabel="epoch", ylabel="average cost of held-out decisions")
probs = logits.softmax(1)
lm.plot.DecisionReliabilityDisplay.from_predictions(probs, y[330:], costs, ax=places[1])
