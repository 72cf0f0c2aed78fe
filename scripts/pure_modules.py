"""Prints the files of the pure modules, comma-separated: those that .importlinter keeps free of I/O."""

import configparser
from pathlib import Path

contracts = configparser.ConfigParser()
contracts.read(Path(__file__).parents[1] / ".importlinter")
modules = [
    module
    for section in contracts.sections()
    if section.endswith("-pure")
    for module in contracts[section]["source_modules"].split()
]
print(",".join(f"{module.replace('.', '/')}.py" for module in modules))
