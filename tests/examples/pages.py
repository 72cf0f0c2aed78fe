"""Shell blocks of the pages, run by bash with stand-ins for the programs that need AWS or a cluster."""

from __future__ import annotations

import os
import re
import subprocess
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_STAND_IN = r"""#!/bin/bash
input=
case " $* " in *" -f - "*) input=$(cat) ;; esac
{ printf '%s\0' "${0##*/}" "$input" "$@"; printf '\1'; } >> "$CALLS"
case "$*" in
CASES
esac
"""
_ENVSUBST = """#!/bin/bash
exec "$PYTHON" -c 'import os, string, sys
print(string.Template(sys.stdin.read()).substitute(os.environ), end="")'
"""
PROGRAMS = ("aws", "kubectl", "helm", "eksctl", "terraform")


def blocks(page: Path, language: str) -> list[str]:
    """Return the blocks of a page in one language, also those of lists."""
    found = _BLOCK.findall(page.read_text(encoding="utf-8"))
    return [textwrap.dedent(text) for _, name, text in found if name == language]


def script(page: Path) -> str:
    """Return the shell blocks of a page as one script: what a reader types."""
    return "#!/bin/bash\nset -euo pipefail\n" + "\n".join(blocks(page, "sh"))


def typed(page: Path) -> list[str]:
    """Return what a reader types: behind `$`, with the lines that go on, and whole blocks without `$`."""
    found = blocks(page, "sh")
    for block in blocks(page, "console"):
        going = False
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append(line.removeprefix("$ "))
                going = True
            elif going and line.startswith(("    ", "  done")):
                found[-1] += f"\n{line}"
            else:
                going = False
    return found


@dataclass(frozen=True, slots=True)
class Call:
    """A program that was called, with what it got on standard input where it reads that."""

    program: str
    input: str
    arguments: tuple[str, ...]

    def option(self, name: str) -> str:
        """Return the value of an option."""
        return self.arguments[self.arguments.index(name) + 1]


def run(page: Path, folder: Path, answers: Mapping[str, str], env: Mapping[str, str]) -> Sequence[Call]:
    """Run a page's script in `folder`; `answers` are what stand-ins print, by a part of their arguments."""
    programs = folder / "bin"
    programs.mkdir()
    for name in ("examples", "charts"):
        (folder / name).symlink_to(ROOT / name)
    cases = "\n".join(f'*"{part}"*) printf "%s\\n" "{answer}" ;;' for part, answer in answers.items())
    texts = dict.fromkeys(PROGRAMS, _STAND_IN.replace("CASES", cases)) | {"envsubst": _ENVSUBST}
    for name, text in texts.items():
        (programs / name).write_text(text, encoding="utf-8")
        (programs / name).chmod(0o755)
    calls = folder / "calls"
    calls.touch()
    done = subprocess.run(
        ["bash", "-c", script(page)],
        cwd=folder,
        env={**env, "PATH": f"{programs}:{os.environ['PATH']}", "CALLS": str(calls)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = [each.split("\0")[:-1] for each in calls.read_text(encoding="utf-8").split("\1")[:-1]]
    return [Call(program, given, tuple(arguments)) for program, given, *arguments in found]
