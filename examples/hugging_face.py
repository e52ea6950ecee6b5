# SPDX-License-Identifier: BSD-3-Clause
"""
Fine-tune a Hugging Face model with its Trainer
===============================================

A small vision transformer has learned to read digits. Read as digits of an amount, mistakes have
prices: to pay too much costs four times what to pay too little does. The `Trainer` fine-tunes it
for these, with micro-batches, and no class of its own.
"""

import logging
from copy import deepcopy
from tempfile import TemporaryDirectory

import torch
from matplotlib import pyplot
from sklearn.datasets import load_digits
from transformers import (
    PrinterCallback,
    Trainer,
    TrainingArguments,
    ViTConfig,
    ViTForImageClassification,
    set_seed,
)

import lossmatrix as lm

logging.getLogger("transformers").setLevel(logging.ERROR)
set_seed(0)
digits = load_digits()
images = torch.tensor(digits.images / 8 - 1, dtype=torch.float32)[:, None]
rows = [
    {"pixel_values": image, "labels": label}
    for image, label in zip(images, digits.target, strict=True)
]
first, second, test = rows[:600], rows[600:1000], rows[1000:]

difference = torch.arange(10)[None, :] - torch.arange(10)[:, None]  # decided − true
costs = lm.Dense(torch.where(difference > 0, 4.0, -1.0) * difference)

# %%
# The criterion takes the place of the model's own cross-entropy as `compute_loss_func`. Divided by
# `num_items_in_batch`, which the `Trainer` counts over all micro-batches of a step, the loss is the
# mean over the step, however the step is cut.

criterion = lm.Criterion(lm.CrossEntropy() + lm.DecisionScore(), costs)


def compute_loss(outputs, labels, num_items_in_batch=None):
    return criterion(outputs.logits, labels, normalizer=num_items_in_batch)


def compute_metrics(predictions):
    logits, target = (torch.as_tensor(each) for each in predictions)
    decisions = {"likeliest": logits.argmax(1), "by_cost": criterion.decide(logits)}
    return {
        name: lm.average_cost(decision, target, costs).item()
        for name, decision in decisions.items()
    }


def trained(model, train, epochs, rate, compute_loss_func=None):
    with TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=32,
            gradient_accumulation_steps=2,
            per_device_eval_batch_size=256,
            num_train_epochs=epochs,
            learning_rate=rate,
            use_cpu=True,
            dataloader_pin_memory=False,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        trainer = Trainer(
            model,
            arguments,
            train_dataset=train,
            eval_dataset=test,
            compute_loss_func=compute_loss_func,
            compute_metrics=compute_metrics,
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        return trainer


# %%
# The model: made here of its configuration, where you would write `from_pretrained`. First it
# learns digits; then other rows fine-tune it, with its own loss and with the costs.

config = ViTConfig(
    image_size=8,
    patch_size=2,
    num_channels=1,
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=64,
    num_labels=10,
)
model = ViTForImageClassification(config)
found = {"as it came": trained(model, first, 25, 3e-3).predict(test)}
for name, loss in (("with its own loss", None), ("with the costs", compute_loss)):
    found[name] = trained(deepcopy(model), second, 10, 1e-3, loss).predict(test)
for name, (_, _, metrics) in found.items():
    print(
        f"{name}: {metrics['test_likeliest']:.3f} a digit by the likeliest class, "
        f"{metrics['test_by_cost']:.3f} by the least expected cost"
    )

# %%
# The decision is what helps; between the two losses one seed tells nothing. If only the surest
# digits are decided, and a person reads the others, what do they cost, and what does the model
# expect?

figure, places = pyplot.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
for ax, name in zip(places, ("with its own loss", "with the costs"), strict=True):
    logits, target = (torch.as_tensor(each) for each in found[name][:2])
    lm.plot.RiskCurveDisplay.from_predictions(logits.softmax(1), target, costs, ax=ax)
    ax.set_title(name)
