"""Import a model's class by its path; whatever goes wrong there is a sentence that says where, and what to do."""

import re
import traceback
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bench.core.errors import BenchError, reason_of, unknown

# modules whose package has another name
PACKAGES = {"sklearn": "scikit-learn", "skimage": "scikit-image", "cv2": "opencv-python", "yaml": "PyYAML"}
PACKAGES |= {"PIL": "pillow", "umap": "umap-learn", "faiss": "faiss-cpu", "Bio": "biopython"}


def class_of(name: str, path: str) -> type:
    """Return the class that an import path ``module:Class`` names.

    Raises
    ------
    BenchError
        If the module cannot be imported, for whatever reason, or has no such class.
    """
    module, _, attribute = path.partition(":")
    if module.endswith(".py") or "/" in module:
        file = Path(module)
        raise BenchError(
            f"Model {name!r} names a file; expected a module: write {file.stem}:{attribute}, "
            f"with the file's folder on PYTHONPATH (export PYTHONPATH={file.absolute().parent})."
        )
    try:
        found = import_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a module may end the process with SystemExit, too
        raise BenchError(f"Model {name!r} cannot be imported: {_why(error, module)}") from error
    if not hasattr(found, attribute):
        classes = [key for key, value in vars(found).items() if isinstance(value, type)]
        raise unknown(f"class in {module}", attribute, classes)
    if not isinstance(model := getattr(found, attribute), type):
        raise BenchError(
            f"Model {name!r} is a {type(model).__name__}; expected the name of a class, which is not yet made."
        )
    return model


def _why(error: BaseException, module: str) -> str:
    """Say why a module cannot be imported, and what to do about it."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}, line {error.lineno}: {error.msg}: {(error.text or '').strip()}"
    if isinstance(error, SystemExit):
        return f"it ends the process ({reason_of(error)}) in {_where(error)}; do so only if __name__ == '__main__'."
    if isinstance(error, ModuleNotFoundError) and error.name:
        return _missing(error.name, module)
    said = reason_of(error)
    if library := re.search(r"(\S+): cannot open shared object file", said):
        return f"the system's library {library[1]} is missing; install it with the system's packages or conda. ({said})"
    if isinstance(error, ImportError) and error.name and error.name.partition(".")[0] != module.partition(".")[0]:
        has = _version(error.name)
        return f"{said}, in {_where(error)}; {has} is not the version that it was written for: install that one."
    return f"{said}, in {_where(error)}."


def _missing(name: str, module: str) -> str:
    """Say what to do where a module is not found."""
    if f"{module}.".startswith(f"{name}."):
        here = " Its file is in this folder: export PYTHONPATH=$PWD." if Path(f"{name}.py").is_file() else ""
        return f"no module named {name!r}. Expected module:Class, with the module on PYTHONPATH.{here}"
    top = name.partition(".")[0]
    if _version(top) != top:
        return f"it needs {name}, which {_version(top)} lacks: install the version that it was written for."
    package = PACKAGES.get(top, top)
    return f"it needs {name}, which is not installed: pip install {package}. (A module of your own goes on PYTHONPATH.)"


def _version(module: str) -> str:
    """Return the package of a module with its version, or the module's name where it is of no package."""
    package = PACKAGES.get(module.partition(".")[0], module.partition(".")[0])
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return module


def _where(error: BaseException) -> str:
    """Return file and line of the innermost statement that is not Python's own machinery of imports."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "importlib" not in frame.filename]
    return f"{frames[-1].filename}, line {frames[-1].lineno}"
