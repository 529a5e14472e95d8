"""Mistakes with Python's C API that a compiler accepts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.source.tree import PROJECT, Check, Tree, assert_none, plant

# What is wrong, what it looks like, and the files in which it is right.
RULES = [
    (
        "a reference is counted by Ref",
        re.compile(r"\bPy_(?:X?INCREF|X?DECREF|CLEAR|X?SETREF|X?NewRef|IncRef|DecRef)\b"),
        {"bindings/ref.hpp"},
    ),
    (
        "the GIL is let go of in gil.hpp",
        re.compile(
            r"\bPy_(?:BEGIN|END|UN)?_?(?:BLOCK|ALLOW)_THREADS\b|\bPyEval_(?:Save|Restore)Thread\b"
            r"|\bPyGILState_\w+"
        ),
        {"bindings/gil.hpp"},
    ),
    (
        "an object that outlives its interpreter belongs to the state of the module",
        re.compile(
            r"\bstatic\s+(?:constinit\s+|thread_local\s+)?Py(?:Type)?Object\b\s*\*?\s*\w+\s*[;={]"
        ),
        set(),
    ),
    (
        "it answers a borrowed reference that another thread may drop, or hides errors",
        re.compile(r"\bPy(?:Dict_GetItem(?:String)?|List_GetItem|Weakref_GetObject)\b"),
        set(),
    ),
    (
        "it steals on success only: use PyModule_AddObjectRef",
        re.compile(r"\bPyModule_AddObject\b"),
        set(),
    ),
    (
        "the constant has no reference of its own: use Ref::none()",
        re.compile(r"\breturn\s+Py_(?:None|True|False|NotImplemented|Ellipsis)\s*;"),
        set(),
    ),
    (
        "a function that makes its own type object at run time needs PyType_FromModuleAndSpec",
        re.compile(r"\bPyType_(?:Ready|FromSpec)\b"),
        set(),
    ),
    (
        "a module with one state for all interpreters: return PyModuleDef_Init",
        re.compile(r"\bPyModule_Create2?\b|\bPyState_FindModule\b"),
        set(),
    ),
    (
        "the message would be read as a format",
        re.compile(r"\bPyErr_Format\s*\(\s*[\w>.-]+\s*,\s*[^\"\s)][^,)]*\)"),
        set(),
    ),
]


def capi_mistakes(tree: Tree) -> list[str]:
    found = []
    for path in tree.files("bindings/**/*.[ch]pp"):
        for number, line in tree.lines(path):
            code = line.split("//")[0]
            found += [
                f"{path}:{number}: {reason}: {line.strip()}"
                for reason, pattern, places in RULES
                if path.as_posix() not in places and pattern.search(code)
            ]
    return found


def names_of_the_c_api_in_core(tree: Tree) -> list[str]:
    """Find names of the C API in the library. That its object code has none is a test of CTest."""
    return [
        f"{path}:{number}: {line.strip()}"
        for path in tree.files("core/**/*.[ch]pp")
        for number, line in tree.lines(path)
        if re.search(r"\bPy(?:_|[A-Z][a-z]+_|Object\b)", line)
    ]


@pytest.mark.parametrize("check", [capi_mistakes, names_of_the_c_api_in_core])
def test_project_has_none(check: Check) -> None:
    assert_none(check(PROJECT))


@pytest.mark.parametrize(
    "line",
    [
        "Py_DECREF(item);",
        "Py_XINCREF(item);",
        "Py_BEGIN_ALLOW_THREADS",
        "const auto state = PyGILState_Ensure();",
        "static PyObject* cache = nullptr;",
        "static PyTypeObject type = {};",
        "PyObject* value = PyDict_GetItem(dict, key);",
        "PyObject* value = PyList_GetItem(list, 0);",
        'PyModule_AddObject(module, "x", value);',
        "return Py_None;",
        "PyType_FromSpec(&spec);",
        "return PyModule_Create(&module);",
        "PyErr_Format(PyExc_ValueError, message);",
    ],
)
def test_planted_mistake_is_found(line: str, tmp_path: Path) -> None:
    assert len(capi_mistakes(plant(tmp_path, {"bindings/x.cpp": line + "\n"}))) == 1


@pytest.mark.parametrize(
    "line",
    [
        "static PyObject* call(PyObject* self, PyObject* argument) noexcept;",
        "// Py_DECREF would run Python code here.",
        "return Ref::none().release();",
        'PyErr_Format(PyExc_ValueError, "too large: %d", count);',
        'PyModule_AddObjectRef(module, "x", value.get());',
    ],
)
def test_ordinary_line_is_accepted(line: str, tmp_path: Path) -> None:
    assert capi_mistakes(plant(tmp_path, {"bindings/x.cpp": line + "\n"})) == []


def test_references_are_counted_in_ref_hpp(tmp_path: Path) -> None:
    assert capi_mistakes(plant(tmp_path, {"bindings/ref.hpp": "Py_XDECREF(object_);\n"})) == []


def test_c_api_in_the_library_is_found(tmp_path: Path) -> None:
    tree = plant(tmp_path, {"core/src/base/x.cpp": "PyObject* owner;\n"})
    assert len(names_of_the_c_api_in_core(tree)) == 1
