import ast
import io
import subprocess
import sys
import tokenize
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import pytest

import sktime_tlstm

PACKAGE = Path(sktime_tlstm.__file__).parent

# The arrows: for each room of the package, the rooms that it may import. All of `nn` counts as one
# room, and so does all of `datasets`: within itself, each imports as it likes.
ARROWS = {
    "": {"flagship", "forecaster"},
    "backtest": {"cutoffs", "data.history", "fitted", "fitting"},
    "calibration": set(),
    "contract": {"data.windows", "nn"},
    "cutoffs": {"data.history", "data.rows", "data.targets", "model"},
    "data": set(),
    "data.columns": set(),
    "data.covariates": {"data.columns", "data.history", "data.rows", "data.scaling"},
    "data.encoder": {
        "data.covariates",
        "data.history",
        "data.rows",
        "data.scaling",
        "data.targets",
        "data.timeline",
    },
    "data.history": {"data.rows", "data.timeline"},
    "data.rows": {"data.timeline"},
    "data.sampling": {"data.history", "data.windows"},
    "data.scaling": set(),
    "data.targets": {"data.columns", "data.history", "data.rows", "data.scaling"},
    "data.timeline": set(),
    "data.windows": {"data.history"},
    "datasets": set(),
    "families": {"nn"},
    "fitted": {"data.timeline"},
    "fitting": {
        "calibration",
        "data.encoder",
        "data.history",
        "data.rows",
        "data.sampling",
        "data.timeline",
        "data.windows",
        "model",
        "net",
        "nn",
        "options",
    },
    "flagship": {"forecaster", "nn"},
    "forecaster": {
        "backtest",
        "data.history",
        "data.rows",
        "data.timeline",
        "families",
        "fitted",
        "fitting",
        "model",
        "nn",
        "options",
    },
    "model": {
        "calibration",
        "data.encoder",
        "data.history",
        "data.windows",
        "families",
        "net",
        "nn",
    },
    "net": {"contract", "data.sampling", "data.windows", "nn"},
    "nn": set(),
    "options": {"contract", "data.scaling", "data.timeline", "net", "nn"},
}
# The rooms that may import a library. A library that is not named here is one nobody imports.
FRAMES = {
    "backtest",
    "cutoffs",
    "data.columns",
    "data.covariates",
    "data.encoder",
    "data.history",
    "data.rows",
    "data.targets",
    "datasets",
    "families",
    "fitted",
    "fitting",
    "forecaster",
}
LIBRARIES = {
    "numpy": set(ARROWS) - {"", "nn"},
    "pandas": FRAMES | {"data.timeline"},
    "scipy": {"families"},
    "skorch": {"net"},
    "skpro": {"families"},
    "sktime": {"backtest", "datasets", "fitted", "flagship", "forecaster"},
    "torch": set(ARROWS) - {"", "datasets"},
}
MAX_CODE_LINES_OF_A_FILE = 450
MAX_CODE_LINES_OF_A_FUNCTION = 60

EVERY_FILE = pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE))
)


def test_importing_the_package_loads_no_library():
    assert _loaded_by("import sktime_tlstm; dir(sktime_tlstm)") == set()


def test_importing_the_datasets_loads_pandas_alone():
    assert _loaded_by("import sktime_tlstm.datasets") == {"numpy", "pandas"}


def test_importing_nn_loads_torch_alone():
    assert _loaded_by("import sktime_tlstm.nn") <= {"numpy", "torch"}


@pytest.mark.parametrize("name", sktime_tlstm.__all__)
def test_public_names_are_found_by_from_import_and_by_attribute(name):
    namespace = {}
    exec(f"from sktime_tlstm import {name}", namespace)
    found = getattr(sktime_tlstm, name)
    assert found is namespace[name]
    assert found.__name__ == name


def test_dir_lists_the_public_names_before_they_are_loaded():
    code = "import sktime_tlstm as package; assert {*package.__all__} <= {*dir(package)}"
    _run(code)


def test_an_unknown_name_is_an_attribute_error_that_lists_the_public_names():
    with pytest.raises(AttributeError, match=r"no attribute 'Nonsense'.*SkorchForecaster, Transf"):
        sktime_tlstm.Nonsense  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'Nonsense'"):
        exec("from sktime_tlstm import Nonsense")
    assert not hasattr(sktime_tlstm, "Nonsense")


def test_the_version_is_the_one_of_the_installed_package():
    assert sktime_tlstm.__version__ == version("sktime-tlstm")


@EVERY_FILE
def test_imports_run_one_way(path):
    module = _module_of(path)
    assert module in ARROWS, f"say in ARROWS and LIBRARIES what {module!r} may import"
    for line, imported in _imports(path):
        top, *rest = imported.split(".")
        where = f"line {line} imports {imported}"
        if top == "sktime_tlstm":
            target = _room_of(rest)
            assert target == module or target in ARROWS[module], where
        elif top not in sys.stdlib_module_names:
            assert module in LIBRARIES.get(top, set()), where


@EVERY_FILE
def test_files_and_functions_are_short(path):
    tree, code = _code_lines(path)
    assert len(code) <= MAX_CODE_LINES_OF_A_FILE
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = sum(node.lineno <= line <= node.end_lineno for line in code)
            assert length <= MAX_CODE_LINES_OF_A_FUNCTION, f"{node.name} has {length} code lines"


def test_imports_are_found_in_all_their_forms(tmp_path):
    path = tmp_path / "nn" / "example.py"
    path.parent.mkdir()
    path.write_text(
        "import torch.nn.functional as F\n"
        "from . import gating\n"
        "from .gating import GatedLinearUnit\n"
        "from .. import windows\n"
        "from sktime_tlstm import nn\n"
        "from sktime_tlstm.net import ForecastNet\n"
        "def late():\n"
        "    import skorch\n"
    )
    assert [imported for _, imported in _imports(path, package=tmp_path)] == [
        "torch.nn.functional",
        "sktime_tlstm.nn.gating",
        "sktime_tlstm.nn.gating.GatedLinearUnit",
        "sktime_tlstm.windows",
        "sktime_tlstm.nn",
        "sktime_tlstm.net.ForecastNet",
        "skorch",
    ]


def test_docstrings_comments_and_blank_lines_are_no_code(tmp_path):
    path = tmp_path / "example.py"
    path.write_text(
        '"""Module."""\n\n# Comment\ndef f():\n    """One.\n\n    Two."""\n    return 1\n'
    )
    _, code = _code_lines(path)
    assert code == {4, 8}


def _run(code: str) -> str:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _loaded_by(code: str) -> set[str]:
    """Return the libraries of LIBRARIES that a fresh interpreter has loaded after the code."""
    loaded = _run(f"{code}\nimport sys\nprint(*{{name.split('.')[0] for name in sys.modules}})")
    return set(LIBRARIES) & set(loaded.split())


def _module_of(path: Path) -> str:
    return _room_of(path.relative_to(PACKAGE).with_suffix("").parts)


def _room_of(parts: Sequence[str]) -> str:
    """Return the room that a dotted name within the package, split at its dots, lies in."""
    first, *rest = parts or ["__init__"]
    inner = first == "data" and rest and rest[0] != "__init__"
    return f"data.{rest[0]}" if inner else "" if first == "__init__" else first


def _imports(path: Path, package: Path = PACKAGE) -> list[tuple[int, str]]:
    """Return (line, absolute dotted name) of every import in the file, those in functions too."""
    folder = ["sktime_tlstm", *path.relative_to(package).parent.parts]
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = folder[: len(folder) - node.level + 1] if node.level else []
            parts = [*base, *([node.module] if node.module else [])]
            found += [(node.lineno, ".".join([*parts, alias.name])) for alias in node.names]
    return sorted(found)


def _code_lines(path: Path) -> tuple[ast.Module, set[int]]:
    """Return the syntax tree and the numbers of the lines that hold code."""
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    docstrings: set[int] = set()
    for node in ast.walk(tree):
        documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
            docstrings.update(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    layout = {
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENDMARKER,
    }
    code = {
        line
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type not in layout
        for line in range(token.start[0], token.end[0] + 1)
    }
    return tree, code - docstrings
