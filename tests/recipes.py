# SPDX-License-Identifier: BSD-3-Clause
"""Code and commands of the documents, for tests to run with what they take for granted."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def recipes(document: str) -> dict[str, str]:
    """The Python without prompts in a document of the repository: heading → code."""
    text = (ROOT / document).read_text(encoding="utf-8")
    found: dict[str, str] = {}
    heading = ""
    for part in re.findall(r"^#+ .+$|^```python\n[\s\S]+?^```$", text, re.MULTILINE):
        if part.startswith("#"):
            heading = part.lstrip("# ")
        elif ">>>" not in part:
            found[heading] = part.removeprefix("```python\n").removesuffix("```")
    return found


def blocks(document: str) -> list[str]:
    """What stands between fences that name no language: commands, and files that they read."""
    text = (ROOT / document).read_text(encoding="utf-8")
    named = re.compile(r"^```\S[\s\S]+?^```$", re.MULTILINE)
    return re.findall(r"^```\n([\s\S]+?)^```$", named.sub("", text), re.MULTILINE)


def commands(document: str) -> list[list[str]]:
    """The arguments of every `lossmatrix` that a reader of the document may type."""
    lines = [line for block in blocks(document) for line in block.splitlines()]
    typed = [shlex.split(line, comments=True) for line in lines if line.startswith("lossmatrix ")]
    return [arguments[1:] for arguments in typed]


def loop(heading: str) -> str:
    """The recipe for a training loop."""
    return recipes("docs/training_loops.md")[heading]
