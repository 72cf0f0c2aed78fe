"""Modules that botocore imports in a pod and hardly ever uses: executed when first used.

botocore and urllib3 import at their top whatever one of their functions may need. A module of `LAZY` is found
when it is imported, and executed when an attribute of it is first read; `from module import name` is such a
read. Mercurial's demandimport and PEP 810 do the same. Nothing is left out but the generator of docstrings
for botocore's methods.
"""

from __future__ import annotations

import sys
from _thread import RLock
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.abc import Loader

LAZY = frozenset(
    {
        "ast",
        "botocore.docs",
        "botocore.monitoring",
        "botocore.retries.adaptive",
        "botocore.retryhandler",
        "botocore.translate",
        "botocore.vendored.six",
        "botocore.waiter",
        "configparser",
        "dateutil.relativedelta",
        "email.base64mime",
        "email.header",
        "email.quoprimime",
        "fnmatch",
        "inspect",
        "jmespath",
        "linecache",
        "mimetypes",
        "shlex",
        "shutil",
        "stringprep",
        "tokenize",
        "traceback",
        "urllib3.http2",
        "urllib3.http2.probe",
        "xml.etree.ElementPath",
    }
)
"""Modules whose execution does nothing but define what is in them."""

DOCSTRINGS = "botocore.docs.docstring"
"""Makes the docstrings of a client's methods, for which the trimmed data has no texts."""


def install() -> None:
    """Have the modules of `LAZY` that are imported from now on executed with their first use."""
    if _Finder not in sys.meta_path:
        sys.meta_path.insert(0, _Finder)


class LazyModule(ModuleType):
    """A module that has not been executed; a plain module afterwards.

    Where its execution is interrupted, such as by a signal's exception, the next use executes it again.
    """

    def __getattr__(self, name: str) -> object:
        submodule = f"{self.__name__}.{name}"
        if submodule in LAZY:
            # It is imported without the execution of its package.
            return import_module(submodule)
        lazy: _LazyLoader = self.__dict__["__spec__"].loader_state
        lazy.execute(self)
        # A plain module's, which raises AttributeError for what is not there.
        return ModuleType.__getattribute__(self, name)


class _LazyLoader:
    """Loads a module by the import system's own loader, once it is used."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader
        self._lock = RLock()
        self._executing = False

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        spec = module.__dict__["__spec__"]
        spec.loader = module.__loader__ = self._loader
        spec.loader_state = self
        module.__class__ = LazyModule

    def execute(self, module: ModuleType) -> None:
        """Execute the module, unless this thread is doing it, or another one has done it meanwhile."""
        with self._lock:
            if self._executing or type(module) is not LazyModule:
                return
            before = dict(module.__dict__)
            try:
                # Inside of `try`: whatever a signal's exception interrupts, it does not stay set.
                self._executing = True
                self._loader.exec_module(module)
            except BaseException:
                module.__dict__.clear()
                module.__dict__.update(before)
                raise
            else:
                # mypy takes the type of the instance for all that it may become.
                module.__class__ = ModuleType  # type: ignore[assignment]
            finally:
                self._executing = False


class _NoDocstrings:
    """Loads a module in the place of `DOCSTRINGS`, whose docstrings are empty."""

    class Docstring(str):
        """Takes what it would be made of."""

        __slots__ = ()

        def __new__(cls, *_: object, **__: object) -> _NoDocstrings.Docstring:
            return super().__new__(cls)

    @staticmethod
    def create_module(_: ModuleSpec) -> None:
        return None

    @classmethod
    def exec_module(cls, module: ModuleType) -> None:
        for name in ("ClientMethodDocstring", "PaginatorDocstring", "WaiterDocstring"):
            setattr(module, name, cls.Docstring)


class _Finder:
    """Finds the modules of `LAZY` where the import system finds all."""

    @staticmethod
    def find_spec(
        fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == DOCSTRINGS:
            return ModuleSpec(fullname, _NoDocstrings)  # type: ignore[arg-type] # by protocol
        if fullname not in LAZY:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _LazyLoader(spec.loader)  # type: ignore[assignment] # by protocol
        return spec
