"""Shell completion: the possible next words of a command line, from the parser itself.

A shell's script calls `multus-eni __complete WORD...`, where the last word is the one that is being written.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence

COMPLETE = "__complete"
"""The command that the scripts call; cobra's programs call theirs so, too."""
NO_DIRECTIVE, NO_FILES = 0, 4
"""The last line of an answer to kubectl (cobra, ShellCompDirective): whether files may follow."""

SCRIPTS = {
    "bash": """\
_multus_eni() {
    local IFS=$'\\n'
    COMPREPLY=($(multus-eni __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _multus_eni multus-eni
""",
    "zsh": """\
#compdef multus-eni
_multus_eni() {
    local -a found
    found=("${(@f)$(multus-eni __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    if [[ -n "${found[1]}" ]]; then compadd -a found; else _files; fi
}
if [[ "${funcstack[1]}" == _multus_eni ]]; then _multus_eni; else compdef _multus_eni multus-eni; fi
""",
    "fish": """\
complete -c multus-eni -a '(multus-eni __complete (commandline -opc)[2..-1] (commandline -ct) 2>/dev/null)'
""",
}

COMPLETION = """\
Writes a script by which a shell completes commands, options and their values:

  source <(multus-eni completion bash)                                       # bash, in ~/.bashrc
  multus-eni completion zsh >"${fpath[1]}/_multus-eni"                       # zsh
  multus-eni completion fish >~/.config/fish/completions/multus-eni.fish     # fish"""


def add_completion(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `completion`."""
    completion = commands.add_parser(
        "completion",
        help="write a script for completion by the shell",
        description=COMPLETION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    completion.add_argument("shell", choices=tuple(SCRIPTS), help="the shell")
    completion.set_defaults(run=_completion)


def _completion(options: argparse.Namespace) -> int:
    sys.stdout.write(SCRIPTS[options.shell])
    return 0


def complete(parser: argparse.ArgumentParser, words: Sequence[str]) -> list[str]:
    """Return what the last of `words` may become; nothing where only the user knows."""
    *earlier, current = words or [""]
    waiting: argparse.Action | None = None
    for word in earlier:
        if waiting is not None:
            waiting = None
        elif word.startswith("-"):
            waiting = _option(parser, word)
        else:
            parser = _commands(parser).get(word, parser)
    if waiting is not None:
        return _beginning(waiting.choices or (), current)
    if current.startswith("-"):
        name, equals, value = current.partition("=")
        option = _option(parser, name) if equals else None
        if option is not None:
            return [f"{name}={each}" for each in _beginning(option.choices or (), value)]
        return _beginning((name for action in _actions(parser) for name in action.option_strings), current)
    return _beginning([*_commands(parser), *_choices(parser)], current)


def kubectl_complete(parser: argparse.ArgumentParser, words: Sequence[str]) -> str:
    """Answer kubectl, which asks `kubectl_complete-multus_eni` (kubectl, pkg/cmd/plugin, completion)."""
    found = complete(parser, words)
    return "".join(f"{each}\n" for each in (*found, f":{NO_FILES if found else NO_DIRECTIVE}"))


def _option(parser: argparse.ArgumentParser, word: str) -> argparse.Action | None:
    """Return the option that a word names, if it takes a value that is another word."""
    found = (action for action in _actions(parser) if word in action.option_strings)
    return next((action for action in found if action.nargs != 0), None)


def _commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    for action in _actions(parser):
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - it has no public name
            return dict(action.choices)
    return {}


def _choices(parser: argparse.ArgumentParser) -> list[str]:
    """Return the values of arguments that are not options."""
    positional = (action for action in _actions(parser) if not action.option_strings)
    return [str(each) for action in positional if not _commands(parser) for each in action.choices or ()]


def _actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return parser._actions  # noqa: SLF001 - argparse shows them nowhere else


def _beginning(words: Iterable[object], prefix: str) -> list[str]:
    return [text for text in map(str, words) if text.startswith(prefix)]
