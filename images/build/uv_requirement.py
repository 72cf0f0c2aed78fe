# ruff: noqa: INP001 - started in the build stage, not imported
"""Print pip's requirement for the uv of uv.lock, with its hashes: `uv_requirement.py uv.lock`."""

import sys
import tomllib
from pathlib import Path

lock = tomllib.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
(uv,) = (package for package in lock["package"] if package["name"] == "uv")
hashes = " ".join(f"--hash={wheel['hash']}" for wheel in uv["wheels"])
sys.stdout.write(f"uv=={uv['version']} {hashes}\n")
