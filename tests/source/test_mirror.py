"""Every source has its header, its line in the build, and its test."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.source.tree import PROJECT, Check, Tree, assert_none, plant

# Sources without a test of their own, and why.
NEEDS_NO_TEST = {
    "core/src/poll/events.cpp": "nothing but static_asserts: compiling it is the test",
}
TYPE = re.compile(r"\bPyType_Spec\s+\w+\s*[={]|\bmake_transport_type<")


def sources_without_header(tree: Tree) -> list[str]:
    return [
        path.as_posix()
        for path in tree.files("core/src/**/*.cpp")
        if not tree.has(f"core/include/epoll/{path.parent.name}/{path.stem}.hpp")
    ]


def sources_without_test(tree: Tree) -> list[str]:
    return [
        path.as_posix()
        for path in tree.files("core/src/**/*.cpp")
        if path.as_posix() not in NEEDS_NO_TEST
        and not tree.has(f"tests/core/{path.parent.name}/{path.stem}_test.cpp")
    ]


def orphan_tests(tree: Tree) -> list[str]:
    """Find tests of nothing: x_test.cpp and x_<topic>_test.cpp belong to x.hpp."""
    found = []
    for path in tree.files("tests/core/*/*_test.cpp"):
        words = path.stem.split("_")[:-1]
        subjects = ["_".join(words[:count]) for count in range(1, len(words) + 1)]
        folder = f"core/include/epoll/{path.parent.name}"
        if not any(tree.has(f"{folder}/{subject}.hpp") for subject in subjects):
            found.append(path.as_posix())
    return found


def types_without_test(tree: Tree) -> list[str]:
    """Find files of bindings/ that define a Python type which nothing tests.

    The test of x.cpp is called test_x.py, or test_x_<topic>.py. Those of bindings/loop may be in
    tests/epoll, too: with asyncio's loop beside ours.
    """
    found = []
    for path in tree.files("bindings/**/*.cpp"):
        subject = re.sub(r"_(type|object)$", "", path.stem)
        name = re.compile(rf"test_(?:{path.stem}|{subject}s?)(?:_\w+)?")
        places = [f"tests/{path.parent}/*.py"]
        if path.parent.name == "loop":
            places.append("tests/epoll/*.py")
        tests = tree.files(*places)
        if TYPE.search(tree.text(path)) and not any(name.fullmatch(test.stem) for test in tests):
            found.append(path.as_posix())
    return found


def sources_not_built(tree: Tree) -> list[str]:
    """Find sources that their CMakeLists.txt does not name: they would be dead."""
    found = []
    for folder in ("core", "bindings"):
        if not tree.has(f"{folder}/CMakeLists.txt"):
            continue
        listed = set(re.findall(r"[\w/]+\.cpp", tree.text(Path(folder, "CMakeLists.txt"))))
        present = {path.relative_to(folder).as_posix() for path in tree.files(f"{folder}/**/*.cpp")}
        found += [f"{folder}/{name}" for name in sorted(present ^ listed)]
    return found


CHECKS = [
    sources_without_header,
    sources_without_test,
    orphan_tests,
    types_without_test,
    sources_not_built,
]


@pytest.mark.parametrize("check", CHECKS)
def test_project_is_mirrored(check: Check) -> None:
    assert_none(check(PROJECT))


def test_exemptions_are_still_needed() -> None:
    assert [path for path in NEEDS_NO_TEST if not PROJECT.has(path)] == []


@pytest.mark.parametrize(
    ("check", "files"),
    [
        (sources_without_header, {"core/src/base/x.cpp": ""}),
        (sources_without_test, {"core/src/base/x.cpp": ""}),
        (orphan_tests, {"tests/core/base/x_test.cpp": ""}),
        (types_without_test, {"bindings/x_type.cpp": "PyType_Spec k_x_spec = {};\n"}),
        (types_without_test, {"bindings/x.cpp": "PyType_Spec x_spec{};\n"}),
        (types_without_test, {"bindings/loop/x.cpp": "PyType_Spec x_spec{};\n"}),
        (types_without_test, {"bindings/loop/x.cpp": "type = make_transport_type<Object>(\n"}),
        (
            types_without_test,
            {"bindings/x.cpp": "PyType_Spec x_spec{};\n", "tests/epoll/test_x.py": ""},
        ),
        (sources_not_built, {"core/CMakeLists.txt": "", "core/src/base/x.cpp": ""}),
        (sources_not_built, {"bindings/CMakeLists.txt": "python_add_library(_core x.cpp)\n"}),
        (sources_not_built, {"bindings/CMakeLists.txt": "", "bindings/loop/x.cpp": ""}),
    ],
)
def test_planted_violation_is_found(check: Check, files: dict[str, str], tmp_path: Path) -> None:
    assert len(check(plant(tmp_path, files))) == 1


@pytest.mark.parametrize(
    ("source", "test"),
    [
        ("bindings/x_type.cpp", "tests/bindings/test_x.py"),
        ("bindings/loop/x_type.cpp", "tests/bindings/loop/test_x_and_more.py"),
        ("bindings/loop/x.cpp", "tests/epoll/test_x_topic.py"),
    ],
)
def test_type_with_a_test_is_accepted(source: str, test: str, tmp_path: Path) -> None:
    files = {source: "PyType_Spec spec = {};\n", test: ""}
    assert types_without_test(plant(tmp_path, files)) == []


def test_test_of_a_topic_is_accepted(tmp_path: Path) -> None:
    files = {"core/include/epoll/base/x.hpp": "", "tests/core/base/x_and_threads_test.cpp": ""}
    assert orphan_tests(plant(tmp_path, files)) == []
