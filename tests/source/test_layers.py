"""Who may include whom: base <- poll <- loop <- net <- serve <- http, and Python above them."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

from tests.source.tree import PROJECT, Check, Tree, assert_none, plant

LAYERS = ["base", "poll", "loop", "net", "serve", "http"]
INCLUDE = re.compile(r"""^\s*#\s*include\s*([<"])([^>"]+)[>"]""")
PYTHON_HEADER = re.compile(r"^(Python|structmember|pyconfig|datetime|patchlevel)\.h$|^cpython/")

# What only some files may know: the header, and where it may be included.
BORDERS = [
    (re.compile(r"^sys/(epoll|eventfd|timerfd)\.h$"), ("core/src/poll/",)),
    (
        re.compile(r"^(sys/socket\.h|sys/un\.h|arpa/inet\.h|netdb\.h|netinet/.*)$"),
        ("core/src/net/", "core/include/epoll/net/address.hpp"),
    ),
]

# Every type checker knows these modules. They need not exist when the program runs: stubs and what
# stands under TYPE_CHECKING are not imported.
CHECKERS_KNOW = {"typing_extensions", "_typeshed"}


def includes(tree: Tree, path: Path) -> list[tuple[int, str, str]]:
    """List the includes of a file: line, ``<`` or ``"``, header."""
    return [
        (number, match[1], match[2])
        for number, line in tree.lines(path)
        if (match := INCLUDE.match(line))
    ]


def layer_of(path: Path) -> str:
    """Return the layer of a file of core/: core/src/net/x.cpp and core/include/epoll/net/x.hpp."""
    return path.parent.name


def wrong_directions(tree: Tree) -> list[str]:
    found = []
    for path in tree.files("core/**/*.hpp", "core/**/*.cpp"):
        if layer_of(path) not in LAYERS:
            found.append(f"{path}: {layer_of(path)} is no layer")
            continue
        allowed = LAYERS[: LAYERS.index(layer_of(path)) + 1]
        for number, form, header in includes(tree, path):
            if header.startswith("epoll/") and header.split("/")[1] not in allowed:
                found.append(f"{path}:{number}: {layer_of(path)} includes {header}")
            if form == '"' and ("/" in header or not header.endswith("_detail.hpp")):
                found.append(f'{path}:{number}: "{header}" is no private header of this folder')
    return found


def crossed_borders(tree: Tree) -> list[str]:
    found = []
    for path in tree.files("core/**/*.[ch]pp", "bindings/**/*.[ch]pp"):
        for number, _, header in includes(tree, path):
            for pattern, places in BORDERS:
                if pattern.match(header) and not path.as_posix().startswith(places):
                    found.append(f"{path}:{number}: <{header}> belongs to {places[0]}")
    return found


def python_in_cpp(tree: Tree) -> list[str]:
    # benchmarks/binder compares ways to write an extension module; it is no part of the product.
    patterns = [f"{folder}/**/*.[ch]pp" for folder in ("core", "tests", "examples")]
    return [
        f"{path}:{number}: <{header}> belongs to bindings/"
        for path in tree.files(*patterns)
        for number, _, header in includes(tree, path)
        if PYTHON_HEADER.match(header)
    ]


def foreign_includes(tree: Tree) -> list[str]:
    """Find includes of what stands above: bindings, tests, benchmarks and examples."""
    return [
        f"{path}:{number}: includes {header}"
        for path in tree.files("core/**/*.[ch]pp", "bindings/**/*.[ch]pp", "examples/**/*.[ch]pp")
        for number, _, header in includes(tree, path)
        if re.search(r"(^|/)(bindings|tests|benchmarks|examples)/|doctest", header)
    ]


def own_header(tree: Tree, path: Path) -> str | None:
    """Name the header that a source must include first, if it has one."""
    if path.parts[0] == "bindings":
        sibling = path.with_suffix(".hpp")
        return sibling.name if tree.has(sibling.as_posix()) else None
    layer, name = path.parent.name, path.stem.removesuffix("_test")
    header = f"epoll/{layer}/{name}.hpp"
    return header if tree.has(f"core/include/{header}") else None


def own_header_not_first(tree: Tree) -> list[str]:
    found = []
    for path in tree.files("core/src/**/*.cpp", "tests/core/**/*_test.cpp", "bindings/**/*.cpp"):
        expected = own_header(tree, path)
        first = next((header for _, _, header in includes(tree, path)), None)
        if expected is not None and first != expected:
            found.append(f"{path}: includes {first} first, not {expected}")
    return found


def is_for_checkers(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def foreign_imports(tree: Tree) -> list[str]:
    """Find imports of the package that are neither its own nor of the standard library."""
    found = []
    for path in tree.files("src/epoll/**/*.py", "src/epoll/**/*.pyi"):
        allowed = sys.stdlib_module_names | {"epoll"}
        module = ast.parse(tree.text(path))
        for_checkers = {
            node for top in module.body if is_for_checkers(top) for node in ast.walk(top)
        }
        for node in ast.walk(module):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module is not None:
                names = [node.module]
            else:
                continue
            found += [
                f"{path}:{node.lineno}: imports {name}"
                for name in names
                if name.split(".")[0] not in allowed
                and not (
                    name.split(".")[0] in CHECKERS_KNOW
                    and (path.suffix == ".pyi" or node in for_checkers)
                )
            ]
    return found


CHECKS = [
    wrong_directions,
    crossed_borders,
    python_in_cpp,
    foreign_includes,
    own_header_not_first,
    foreign_imports,
]


@pytest.mark.parametrize("check", CHECKS)
def test_project_keeps_its_layers(check: Check) -> None:
    assert_none(check(PROJECT))


def test_project_has_files_in_each_folder_that_is_checked() -> None:
    for pattern in ("core/include/epoll/*/*.hpp", "core/src/*/*.cpp", "bindings/*.cpp"):
        assert PROJECT.files(pattern), pattern
    assert PROJECT.files("src/epoll/**/*.py")


@pytest.mark.parametrize(
    ("check", "path", "text"),
    [
        (wrong_directions, "core/src/poll/x.cpp", "#include <epoll/net/stream.hpp>\n"),
        (wrong_directions, "core/include/epoll/base/x.hpp", "#  include <epoll/poll/events.hpp>\n"),
        (wrong_directions, "core/src/net/x.cpp", '#include "../poll/poller_detail.hpp"\n'),
        (wrong_directions, "core/src/misc/x.cpp", "int x;\n"),
        (crossed_borders, "core/src/loop/x.cpp", "#include <sys/epoll.h>\n"),
        (crossed_borders, "core/include/epoll/net/stream.hpp", "#include <netinet/tcp.h>\n"),
        (crossed_borders, "bindings/x.cpp", "#include <sys/socket.h>\n"),
        (python_in_cpp, "core/src/base/x.cpp", "#include <Python.h>\n"),
        (python_in_cpp, "tests/core/base/x_test.cpp", "#include <Python.h>\n"),
        (foreign_includes, "core/src/base/x.cpp", "#include <bindings/ref.hpp>\n"),
        (foreign_includes, "bindings/x.cpp", "#include <doctest/doctest.h>\n"),
        (foreign_imports, "src/epoll/x.py", "import pytest\n"),
        (foreign_imports, "src/epoll/x.py", "from _typeshed import ReadableBuffer\n"),
        (foreign_imports, "src/epoll/x.py", "if TYPE_CHECKING:\n    import pytest\n"),
        (foreign_imports, "src/epoll/x.pyi", "import pytest\n"),
        (crossed_borders, "bindings/loop/x.cpp", "#include <sys/socket.h>\n"),
        (foreign_imports, "src/epoll/x.py", "def f():\n    from tests.support import y\n"),
    ],
)
def test_planted_violation_is_found(check: Check, path: str, text: str, tmp_path: Path) -> None:
    assert len(check(plant(tmp_path, {path: text}))) == 1


@pytest.mark.parametrize(
    ("source", "header", "include"),
    [
        ("core/src/base/x.cpp", "core/include/epoll/base/x.hpp", "<epoll/base/x.hpp>"),
        ("tests/core/base/x_test.cpp", "core/include/epoll/base/x.hpp", "<epoll/base/x.hpp>"),
        ("bindings/x.cpp", "bindings/x.hpp", '"x.hpp"'),
    ],
)
def test_own_header_must_be_first(source: str, header: str, include: str, tmp_path: Path) -> None:
    late = f"#include <vector>\n#include {include}\n"
    assert len(own_header_not_first(plant(tmp_path, {header: "", source: late}))) == 1
    first = f"#include {include}\n#include <vector>\n"
    assert own_header_not_first(plant(tmp_path, {source: first})) == []


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("src/epoll/x.py", "if TYPE_CHECKING:\n    from _typeshed import ReadableBuffer\n"),
        ("src/epoll/x.pyi", "from _typeshed import ReadableBuffer\n"),
    ],
)
def test_what_only_checkers_import_is_accepted(path: str, text: str, tmp_path: Path) -> None:
    assert foreign_imports(plant(tmp_path, {path: text})) == []
