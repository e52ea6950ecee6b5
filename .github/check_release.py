# SPDX-License-Identifier: BSD-3-Clause
"""Whether a tag, the version of the package, the citation and the changelog name one release."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PLACES = {
    "pyproject.toml": r'^version = "(.+)"$',
    "CITATION.cff": r"^version: (.+)$",
    "CHANGELOG.md": r"^## \[(\d.*?)\] - \d{4}-\d\d-\d\d$",  # the newest stands first
}


def main(tag: str) -> None:
    """Exits with a sentence if they do not agree."""
    for name, pattern in PLACES.items():
        found = re.search(pattern, (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE)
        said = found[1] if found else "no release"
        if f"v{said}" != tag:
            sys.exit(f"the tag is {tag}, but {name} says {said}: make them one before you release")


if __name__ == "__main__":
    main(*sys.argv[1:])
