import ast
import io
import re
import subprocess
import sys
import tokenize
from importlib.metadata import version
from pathlib import Path

import pytest

import sktime_tlstm

PACKAGE = Path(sktime_tlstm.__file__).parent

MAP = (Path(__file__).parents[1] / "docs" / "architecture.md").read_text(encoding="utf-8")
# For each room on the map, the rooms that it imports. All of `nn` counts as one room, and so does
# all of `datasets`: within itself, each imports as it likes.
ARROWS = {
    room: set() if imports == "nothing" else set(imports.split(", "))
    for room, imports in re.findall(r"^### (\S+)$.*?^Imports: (.*?)$", MAP, re.M | re.S)
}
# The lines of the map's picture, from top to bottom, without the name of the part.
FLOORS = [
    line[10:].split() for line in MAP.partition("```text\n")[2].partition("\n```")[0].splitlines()
]

# The rooms that may import a library. A library that is not named here is one nobody imports.
FRAMES = {
    "absences",
    "attribution",
    "backtest",
    "beyond",
    "calls",
    "cli",
    "cutoffs",
    "data.channels",
    "data.columns",
    "data.covariates",
    "data.encoder",
    "data.history",
    "data.panels",
    "data.parquet",
    "data.rows",
    "data.seasonality",
    "data.source",
    "data.targets",
    "datasets",
    "epochs",
    "families",
    "fitted",
    "fitting",
    "forecaster",
    "forecasting",
    "inspectable",
    "inspection",
    "plotting",
    "tables",
    "time_records",
    "training_record",
}
LIBRARIES = {
    "matplotlib": {"plotting"},
    "numpy": set(ARROWS) - {"nn", "processes"},
    "pandas": FRAMES | {"data.calendar", "data.frequency", "data.timeline"},
    "pyarrow": {"data.parquet"},
    "ruamel": {"configuration"},
    "safetensors": {"archive"},
    "scipy": {"families"},
    "skorch": {"callbacks", "net"},
    "skpro": {"families"},
    "sktime": {
        "backtest",
        "calls",
        "cli",
        "datasets",
        "fitted",
        "flagship",
        "forecaster",
        "storable",
        "storing",
    },
    "torch": set(ARROWS) - {"cli", "configuration", "datasets", "plotting", "tables"},
    "tqdm": {"progress"},
}
MAX_CODE_LINES_OF_A_FILE = 450
MAX_CODE_LINES_OF_A_CLASS = 350
MAX_CODE_LINES_OF_A_FUNCTION = 60

EVERY_FILE = pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE))
)


def test_importing_the_package_loads_no_library():
    assert _loaded_by("import sktime_tlstm; dir(sktime_tlstm)") == set()


def test_importing_the_datasets_loads_pandas_alone():
    assert _loaded_by("import sktime_tlstm.datasets") == {"numpy", "pandas"}


def test_importing_the_command_line_loads_numpy_alone():
    assert _loaded_by("import sktime_tlstm.cli") == {"numpy"}


def test_importing_nn_loads_torch_alone():
    assert _loaded_by("import sktime_tlstm.nn") <= {"numpy", "torch", "tqdm"}  # torch loads it


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
def test_libraries_are_imported_where_they_belong(path):
    room = _room_of(path)
    for line, imported in _imports(path):
        top = imported.split(".")[0]
        if top != "sktime_tlstm" and top not in sys.stdlib_module_names:
            assert room in LIBRARIES.get(top, set()), f"line {line} imports {imported}"


def test_the_map_names_every_room_and_all_that_it_imports():
    found = {}
    for path in PACKAGE.rglob("*.py"):
        room = _room_of(path)
        rooms = {_room_of(_as_path(name)) for _, name in _imports(path) if _is_of_a_room(name)}
        if room:  # a package's own __init__.py hands names on
            found.setdefault(room, set()).update(rooms - {room})
    assert found == ARROWS


def test_every_import_goes_down_the_map():
    floor = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
    assert sorted(floor) == sorted(ARROWS)
    up = [
        f"{room} -> {other}"
        for room, others in ARROWS.items()
        for other in others
        if floor[other] <= floor[room]
    ]
    assert not up


@EVERY_FILE
def test_files_classes_and_functions_are_short(path):
    tree, code = _code_lines(path)
    assert len(code) <= MAX_CODE_LINES_OF_A_FILE
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            begin = node.body[0].lineno  # parameters, one a line, are read as a list
            length = sum(begin <= line <= node.end_lineno for line in code)
            assert length <= MAX_CODE_LINES_OF_A_FUNCTION, f"{node.name} has {length} code lines"
        if isinstance(node, ast.ClassDef):
            length = sum(node.lineno <= line <= node.end_lineno for line in code)
            assert length <= MAX_CODE_LINES_OF_A_CLASS, f"{node.name} has {length} code lines"


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


def test_the_lowest_versions_that_are_tested_are_those_that_are_allowed():
    root = PACKAGE.parent
    project = (root / "pyproject.toml").read_text("utf-8")
    allowed = dict(re.findall(r'"([\w.-]+)>=([\d.]+)"', project))
    lines = (root / "constraints-min.txt").read_text("utf-8")
    tested = dict(re.findall(r"^([\w.-]+)==([\d.]+)$", lines, re.M))
    for name in tested.keys() & allowed.keys():
        assert _version(tested[name]) == _version(allowed[name]), name
    needed = re.findall(r'"([\w-]+)>=', project.split("\ndependencies = [")[1].split("]")[0])
    assert needed and set(needed) <= set(tested)


def _version(text: str) -> list[int]:
    """Return a version's numbers, without zeros at its end."""
    return [int(part) for part in re.sub(r"(\.0)+$", "", text).split(".")]


def _run(code: str) -> str:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _loaded_by(code: str) -> set[str]:
    """Return the libraries of LIBRARIES that a fresh interpreter has loaded after the code."""
    loaded = _run(f"{code}\nimport sys\nprint(*{{name.split('.')[0] for name in sys.modules}})")
    known = set(LIBRARIES) - {"pyarrow"}  # which pandas loads where it is there
    return known & set(loaded.split())


def _room_of(path: Path) -> str:
    """Return the room that a file is, or is in; "" for an __init__.py that only hands on."""
    first, *rest = path.relative_to(PACKAGE).with_suffix("").parts
    if first == "data" and rest:
        return "" if rest[0] == "__init__" else f"data.{rest[0]}"
    return "" if first == "__init__" else first


def _is_of_a_room(name: str) -> bool:
    return name.split(".")[0] == "sktime_tlstm" and name != "sktime_tlstm.__version__"


def _as_path(name: str) -> Path:
    """Return the file that holds an absolute dotted name of the package."""
    parts = name.split(".")[1:]
    while parts and not PACKAGE.joinpath(*parts).with_suffix(".py").is_file():
        if PACKAGE.joinpath(*parts, "__init__.py").is_file():
            return PACKAGE.joinpath(*parts, "__init__.py")
        parts = parts[:-1]
    return PACKAGE.joinpath(*parts).with_suffix(".py") if parts else PACKAGE / "__init__.py"


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
