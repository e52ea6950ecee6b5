# SPDX-License-Identifier: BSD-3-Clause
"""
Segmentation with a void label
==============================

Images of roads with pavements and people. Missing a person is dear, and what the annotators could
not tell is void: it counts neither in the loss nor in a metric.
"""

import torch
from matplotlib import pyplot

import lossmatrix as lm

VOID = 255
costs = lm.Dense(
    [[0, 1, 1], [2, 0, 1], [20, 20, 0]],
    classes=["road", "pavement", "person"],
)

# %%
# Images by a rule: a pavement below a line, two people as squares, noise over all, void along
# edges.


def scenes(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    masks = torch.zeros(count, 32, 32, dtype=torch.long)
    lines = torch.randint(12, 24, (count,), generator=generator).tolist()
    for mask, line in zip(masks, lines, strict=True):
        mask[line:] = 1
        for row, column in torch.randint(0, 28, (2, 2), generator=generator).tolist():
            mask[row : row + 4, column : column + 4] = 2
    colour = torch.tensor([0.0, 1.0, 1.6])[masks]
    images = colour + 0.8 * torch.randn(masks.shape, generator=generator)
    masks[torch.arange(count), lines] = VOID
    return images[:, None], masks


images, masks = scenes(48, seed=0)
test_images, test_masks = scenes(48, seed=1)

# %%
# The criterion stands where `nn.CrossEntropyLoss(ignore_index=255)` stood.

torch.manual_seed(0)
model = torch.nn.Sequential(
    torch.nn.Conv2d(1, 12, 5, padding=2),
    torch.nn.ReLU(),
    torch.nn.Conv2d(12, 12, 5, padding=2),
    torch.nn.ReLU(),
    torch.nn.Conv2d(12, 3, 1),
)
criterion = lm.Criterion(lm.CrossEntropy() + lm.DecisionScore(), costs, ignore_index=VOID)
optimizer = torch.optim.Adam(model.parameters(), 0.01)
for _ in range(60):
    optimizer.zero_grad()
    criterion(model(images), masks).backward()
    optimizer.step()

# %%
# Decisions have the shape of the masks.

with torch.no_grad():
    logits = model(test_images)
decisions = {"likeliest": logits.argmax(1), "least expected cost": criterion.decide(logits)}
figure, places = pyplot.subplots(1, 4, figsize=(12, 3.4), layout="constrained")
places[0].imshow(test_images[0, 0].numpy(), cmap="gray")
places[0].set_title("image")
places[1].imshow(test_masks[0].clamp(max=3).numpy(), vmin=0, vmax=3)
places[1].set_title("truth")
for ax, (name, decision) in zip(places[2:], decisions.items(), strict=True):
    average = lm.average_cost(decision, test_masks, costs, ignore_index=VOID)
    found = (decision == 2)[test_masks == 2].double().mean()
    ax.imshow(decision[0].numpy(), vmin=0, vmax=3)
    ax.set_title(f"{name}: {average:.3f}")
    print(f"{name}: {average:.3f} a pixel, {found:.0%} of the people found")
