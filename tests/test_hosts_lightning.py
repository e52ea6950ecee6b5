# SPDX-License-Identifier: BSD-3-Clause
"""Lightning on two processes: the mean over uneven ranks is that of the whole batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from recipes import loop
from test_hosts import ORDINAL, SUM, TokenModel, batch, one_step_of_all
from torch.utils.data import DataLoader, TensorDataset

import lossmatrix as lm

lightning = pytest.importorskip("lightning")
pytestmark = pytest.mark.integration
RECIPE: dict[str, Any] = {"torch": torch, "lm": lm}
exec(loop("Lightning"), RECIPE)


class Tokens(lightning.LightningModule):
    """A model whose ranks count the targets of one another."""

    def __init__(self) -> None:
        super().__init__()
        self.model, self.criterion = TokenModel(), lm.Criterion(SUM, ORDINAL)

    training_step = RECIPE["training_step"]

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.5)


@pytest.mark.filterwarnings("ignore")
def test_two_devices_take_the_step_of_the_whole_batch(tmp_path: Path) -> None:
    module = Tokens()
    trainer = lightning.Trainer(
        accelerator="cpu",
        devices=2,
        strategy="ddp_spawn",
        max_steps=1,
        default_root_dir=tmp_path,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader(TensorDataset(*batch()), batch_size=6))
    torch.testing.assert_close(module.model.weight.detach(), one_step_of_all())
