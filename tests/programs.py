"""Which programs are tested where tests start them: those of this environment, or of another build.

MULTUS_ENI_PROGRAMS names a folder with `ipagent`, `multus-eni` and `python3` in their place: in that of
`make test-arm64` are those of the arm64 images, emulated.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

FOLDER = Path(os.environ.get("MULTUS_ENI_PROGRAMS") or Path(sys.executable).parent)
IPAGENT = str(FOLDER / "ipagent")
MULTUS_ENI = str(FOLDER / "multus-eni")
PYTHON = str(FOLDER / "python3")
"""Has all that the programs import."""
