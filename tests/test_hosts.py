# SPDX-License-Identifier: BSD-3-Clause
"""The loops that users train with: means over uneven parts of a batch are those of the whole.

Each test runs the real package on a tiny model, in parts and at once, by the recipe of
docs/training_loops.md.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from recipes import loop
from torch import Tensor, nn

import lossmatrix as lm

C, T = 11, 6
SUM = lm.CrossEntropy() + 0.5 * lm.ExpectedCost()
ORDINAL = lm.Ordinal(C)

pytestmark = pytest.mark.integration


def batch(rows: int = 12) -> tuple[Tensor, Tensor]:
    """Tokens, and labels that are ignored from a length on that every row has of its own."""
    generator = torch.Generator().manual_seed(3)
    tokens = torch.randint(C, (rows, T), generator=generator)
    lengths = torch.randint(2, T + 1, (rows, 1), generator=generator)
    return tokens, tokens.masked_fill(torch.arange(T) >= lengths, -100)


class TokenModel(nn.Module):
    """Logits (N, C, T) of tokens (N, T)."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(-1.0, 1.0, C * C).reshape(C, C).sin())

    def forward(self, tokens: Tensor) -> Tensor:
        return self.weight[tokens].transpose(1, 2)


# --- Hugging Face --------------------------------------------------------------------------------


def trained_by_hugging_face(folder: Path, accumulation: int) -> dict[str, Tensor]:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=C, n_positions=T, n_embd=8, n_layer=1, n_head=1, bos_token_id=0, eos_token_id=0
    )
    config.resid_pdrop = config.embd_pdrop = config.attn_pdrop = 0.0
    model = transformers.GPT2LMHeadModel(config)
    rows = [{"input_ids": x, "labels": y} for x, y in zip(*batch(), strict=True)]
    arguments = transformers.TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=4 // accumulation,
        gradient_accumulation_steps=accumulation,
        max_steps=3,
        learning_rate=0.5,
        lr_scheduler_type="constant",
        optim="sgd",
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
    )
    names: dict[str, Any] = {
        "Trainer": transformers.Trainer,
        "model": model,
        "arguments": arguments,
        "rows": rows,
        "criterion": lm.Criterion(SUM, ORDINAL),
    }
    exec(loop("Hugging Face `Trainer`"), names)
    names.pop("trainer").train()  # and is gone: loops that live share the state of Accelerate
    return {name: p.detach().clone() for name, p in model.named_parameters()}


@pytest.mark.filterwarnings("ignore")
def test_hugging_faces_trainer_accumulates_to_the_same_parameters(tmp_path: Path) -> None:
    whole, parts = (trained_by_hugging_face(tmp_path, n) for n in (1, 4))
    torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-6)


# --- Accelerate ----------------------------------------------------------------------------------


def trained_by_accelerate(accumulation: int) -> Tensor:
    accelerate = pytest.importorskip("accelerate")
    accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=accumulation)
    model = TokenModel()
    model, optimizer = accelerator.prepare(model, torch.optim.SGD(model.parameters(), 0.5))
    names: dict[str, Any] = {
        "accelerator": accelerator,
        "model": model,
        "optimizer": optimizer,
        "criterion": lm.Criterion(SUM, ORDINAL),
        "lm": lm,
    }
    tokens, labels = batch()
    for step in zip(tokens.split(4), labels.split(4), strict=True):
        names["micro_batches"] = [*zip(*(each.chunk(accumulation) for each in step), strict=True)]
        exec(loop("Accelerate"), names)
    return accelerator.unwrap_model(model).weight.detach()


@pytest.mark.filterwarnings("ignore")
def test_accelerate_accumulates_to_the_same_parameters() -> None:
    whole, parts = (trained_by_accelerate(n) for n in (1, 4))
    torch.testing.assert_close(parts, whole)


# --- processes that average gradients ------------------------------------------------------------


def one_step_of_all() -> Tensor:
    """The parameters after a step on the whole batch, in one process."""
    model = TokenModel()
    tokens, labels = batch()
    lm.Criterion(SUM, ORDINAL)(model(tokens), labels).backward()
    with torch.no_grad():
        return model.weight - 0.5 * model.weight.grad


def own_rows(rank: int) -> slice:
    return slice(0, 3) if rank == 0 else slice(3, None)


def _process(rank: int, port: int, path: str) -> None:
    """One of two processes, with uneven parts of the batch, under DDP and under FSDP2."""
    from torch.distributed.fsdp import fully_shard

    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2)
    try:
        tokens, labels = (each[own_rows(rank)] for each in batch())
        found: dict[str, Tensor] = {}
        for name, wrap in (("DDP", nn.parallel.DistributedDataParallel), ("FSDP2", fully_shard)):
            names: dict[str, Any] = {"torch": torch, "lm": lm, "model": TokenModel()}
            names |= {"criterion": lm.Criterion(SUM, ORDINAL), "x": tokens, "y": labels}
            names["DistributedDataParallel"] = wrap  # "or fully_shard(model)", says the recipe
            exec(loop("`DistributedDataParallel` and FSDP2"), names)
            model = names["model"]
            torch.optim.SGD(model.parameters(), 0.5).step()
            (weight,) = (p.detach() for p in model.parameters())
            found[name] = weight.full_tensor() if name == "FSDP2" else weight
        if rank == 0:
            torch.save(found, path)
    finally:
        torch.distributed.destroy_process_group()


def test_ddp_and_fsdp_take_the_step_of_the_whole_batch(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(_process, (port, str(tmp_path / "found.pt")), nprocs=2)
    found = torch.load(tmp_path / "found.pt")
    for name in ("DDP", "FSDP2"):
        torch.testing.assert_close(found[name], one_step_of_all(), msg=name)
