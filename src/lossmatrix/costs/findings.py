# SPDX-License-Identifier: BSD-3-Clause
"""What looks wrong in a cost matrix, and what to do about it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """Something in a cost matrix that is usually a mistake: what it is, and the remedy."""

    kind: str
    message: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}"
