"""Modules that are executed late are what they would have been, and the first call executes none of them."""

from __future__ import annotations

import importlib
import itertools
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, ModuleType

import pytest

from ipagent import lazy_imports
from ipagent.lazy_imports import LAZY, LazyModule
from tests.doubles import Doubles
from tests.ipagent import worlds
from tests.ipagent.worlds import ENI_1, MAC_1, REGION

COUNTED = """
import sys
sys.executions = getattr(sys, "executions", 0) + 1
value = 1
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file of a lazy module `lazy_one.inner`, in a package whose execution fails."""
    package = tmp_path / "lazy_one"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('the package is executed')")
    inner = package / "inner.py"
    inner.write_text(COUNTED)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.setattr(sys, "executions", 0, raising=False)
    monkeypatch.setattr(lazy_imports, "LAZY", frozenset({"lazy_one", "lazy_one.inner"}))
    lazy_imports.install()
    yield inner
    for name in ("lazy_one", "lazy_one.inner"):
        sys.modules.pop(name, None)


def executions() -> int:
    found: int = sys.executions  # type: ignore[attr-defined] # set by the module
    return found


@pytest.mark.pure
@pytest.mark.usefixtures("module")
def test_a_module_is_executed_once_and_by_its_first_use() -> None:
    for _ in range(2):
        inner = importlib.import_module("lazy_one.inner")
    assert type(inner) is LazyModule
    assert inner.__name__ == "lazy_one.inner"
    assert executions() == 0
    assert [inner.value, inner.value, executions()] == [1, 1, 1]
    assert type(inner) is ModuleType
    assert sys.modules["lazy_one.inner"] is inner


@pytest.mark.pure
@pytest.mark.usefixtures("module")
def test_a_submodule_is_imported_from_its_package_without_the_packages_execution() -> None:
    namespace: dict[str, int] = {}
    exec("from lazy_one import inner; value = inner.value", namespace)
    assert namespace["value"] == 1
    with pytest.raises(RuntimeError, match="the package is executed"):
        _ = sys.modules["lazy_one"].other


@pytest.mark.pure
@pytest.mark.usefixtures("module")
def test_what_a_module_lacks_is_an_attribute_error() -> None:
    inner = importlib.import_module("lazy_one.inner")
    with pytest.raises(AttributeError, match=r"'lazy_one\.inner' has no attribute 'absent'"):
        _ = inner.absent


@pytest.mark.pure
def test_an_execution_that_was_interrupted_is_done_again(module: Path) -> None:
    module.write_text(
        "half = 1\nimport sys\nsys.executions += 1\nif sys.executions == 1: raise KeyboardInterrupt\nrest = 2"
    )
    inner = importlib.import_module("lazy_one.inner")
    with pytest.raises(KeyboardInterrupt):
        _ = inner.rest
    assert "half" not in vars(inner)
    assert inner.rest == 2


class Interruption:
    """Raises KeyboardInterrupt, as a signal's handler may, before a line of what executes a module."""

    def __init__(self, line: int) -> None:
        self.left = line

    def __call__(self, frame: FrameType, event: str, _: object) -> Interruption | None:
        code = frame.f_code
        if (code.co_filename, code.co_name) != (lazy_imports.__file__, "execute"):
            return None
        if event == "line":
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
        return self


def interrupted(inner: ModuleType, line: int) -> bool:
    """Use a module for the first time; returns whether its execution came to this line of `execute`."""
    before = sys.gettrace()
    sys.settrace(Interruption(line))
    try:
        _ = inner.value
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


@pytest.mark.pure
@pytest.mark.usefixtures("module")
def test_wherever_an_execution_is_interrupted_the_next_use_works() -> None:
    for line in itertools.count():
        sys.modules.pop("lazy_one.inner", None)
        inner = importlib.import_module("lazy_one.inner")
        if not interrupted(inner, line):
            break
        assert inner.value == 1
    assert line > 6


@pytest.mark.pure
def test_a_second_thread_waits_for_the_whole_module(module: Path) -> None:
    module.write_text("import sys\nsys.executing.set()\nsys.go_on.wait(30)\nvalue = 1")
    executing, go_on = threading.Event(), threading.Event()
    sys.executing, sys.go_on = executing, go_on  # type: ignore[attr-defined] # the module's
    inner = importlib.import_module("lazy_one.inner")
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(inner.value)) for _ in range(2)]
    threads[0].start()
    assert executing.wait(30)
    threads[1].start()
    go_on.set()
    for thread in threads:
        thread.join(30)
    assert found == [1, 1]


def run(script: str, **env: str) -> str:
    # Without our environment: a measurement of coverage would import much.
    command = [sys.executable, "-I", "-c", script]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=env).stdout


CONTENTS = """
import importlib, json, sys
from ipagent import lazy_imports
{install}
modules = [importlib.import_module(name) for name in sorted(lazy_imports.LAZY)]
for module in modules:
    getattr(module, "absent", None)
print(json.dumps(dict((module.__name__, sorted(vars(module))) for module in modules)))
"""


def test_a_module_that_is_executed_late_has_all_that_it_has_otherwise() -> None:
    late = json.loads(run(CONTENTS.format(install="lazy_imports.install()")))
    assert set(late) == LAZY
    assert late == json.loads(run(CONTENTS.format(install="")))


FIRST_CALL = """
import json, sys
from ipagent import lazy_imports
lazy_imports.install()
from ipagent.direct import main
from common.agent_settings import Credentials
from ipagent.aws.botocore_connection import BotocoreConnection
from ipagent.aws.ec2_client import Ec2Client
client = Ec2Client(BotocoreConnection({region!r}, Credentials.NODE))
print(json.dumps([eni.eni_id for eni in client.by_mac([{mac!r}])]))
lazy = [name for name, module in sys.modules.items() if type(module) is lazy_imports.LazyModule]
print(json.dumps([lazy, list(sys.modules)]))
"""


def test_the_first_call_to_ec2_uses_none_of_them() -> None:
    with Doubles(worlds.world(role="node")) as doubles:
        script = FIRST_CALL.format(region=REGION, mac=MAC_1)
        answer, modules = run(
            script, AWS_ENDPOINT_URL_EC2=doubles.ec2_url, AWS_EC2_METADATA_SERVICE_ENDPOINT=doubles.imds_url
        ).splitlines()
    assert json.loads(answer) == [ENI_1]
    lazy, imported = map(set, json.loads(modules))
    # Python 3.13's dataclasses ask `inspect`; 3.11's `inspect`, which nobody asks, would import the others.
    # Debian's tempfile of 3.11 asks `shutil`.
    asked = {"inspect", "shutil"}
    either = {"ast", "linecache", "tokenize", *asked}
    assert lazy | either == LAZY | either
    assert LAZY & imported - lazy <= asked
    assert not imported & {"botocore.docs.method", "html.parser", "importlib.metadata", "zipfile"}
