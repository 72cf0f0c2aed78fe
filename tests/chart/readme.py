"""Write the chart's README from its values: `python -m tests.chart.readme`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.cluster.helm import CHART
from tests.cluster.tools import Missing, find_binaries

README = CHART / "README.md"


def generate(program: Path) -> str:
    """Return the README."""
    done = subprocess.run(
        [
            program,
            "--dry-run",
            f"--chart-search-root={CHART}",
            "--sort-values-order=file",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.rstrip("\n") + "\n"


def main() -> None:
    found = find_binaries(["helm-docs"])
    if isinstance(found, Missing):
        sys.exit(str(found))
    README.write_text(generate(found["helm-docs"]), encoding="utf-8")


if __name__ == "__main__":
    main()
