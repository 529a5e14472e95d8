#pragma once

// The only include of Python.h, so that every file sees it first and with the same options.

#define PY_SSIZE_T_CLEAN
#include <Python.h>
