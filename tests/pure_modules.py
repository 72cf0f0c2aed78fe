"""Prints the files of the pure modules, comma-separated: those that .importlinter keeps free of I/O."""

from __future__ import annotations

import configparser
from pathlib import Path

ROOT = Path(__file__).parents[1]


def files() -> set[str]:
    """Return the files of all rooms and modules that a contract named `*-pure` holds, less its exceptions."""
    contracts = configparser.ConfigParser()
    contracts.read(ROOT / ".importlinter")
    found: set[str] = set()
    for section in (contracts[name] for name in contracts.sections() if name.endswith("-pure")):
        excepted = {line.split(" ->")[0] for line in section.get("ignore_imports", "").splitlines() if line}
        for module in section["source_modules"].split():
            path = ROOT / module.replace(".", "/")
            for file in sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]:
                name = file.relative_to(ROOT).as_posix()
                if name.removesuffix(".py").replace("/", ".") not in excepted:
                    found.add(name)
    return found


if __name__ == "__main__":
    print(",".join(sorted(files())))
