"""Builds the C echo server and the load clients: ``python benchmarks/build.py [--sanitize]``.

Needs a C11 and a C++20 compiler (``$CC``, ``$CXX``) and nothing else. Programs that are newer than
their source are left alone.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
WARNINGS = ("-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror")
SANITIZERS = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
COMPILERS = {
    ".c": (os.environ.get("CC", "cc"), "-std=c11"),
    ".cpp": (os.environ.get("CXX", "c++"), "-std=c++20", "-Wold-style-cast"),
}
SOURCES = ("echo/c_echo_server.c", "echo/load_client.cpp", "echo/datagram_client.cpp")


def build(*, sanitize: bool = False) -> Path:
    """Compile what is out of date and return the folder of the programs.

    Raises:
        RuntimeError: a compiler is missing or failed; its message is in the text.
    """
    folder = HERE / ".build" / ("sanitized" if sanitize else "optimized")
    folder.mkdir(parents=True, exist_ok=True)
    for name in SOURCES:
        source = HERE / name
        program = folder / source.stem
        if program.exists() and program.stat().st_mtime > source.stat().st_mtime:
            continue
        compiler, *language = COMPILERS[source.suffix]
        optimization = SANITIZERS if sanitize else ("-O2",)
        command = [*shlex.split(compiler), *language, *optimization, *WARNINGS]
        command += [str(source), "-o", str(program)]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
        except FileNotFoundError:
            raise RuntimeError(f"no compiler {compiler!r}") from None
        except subprocess.CalledProcessError as failure:
            raise RuntimeError(f"{shlex.join(command)}\n{failure.stderr}") from None
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description="Build the programs of the benchmarks.")
    parser.add_argument("--sanitize", action="store_true", help="with ASan and UBSan")
    print(build(sanitize=parser.parse_args().sanitize))


if __name__ == "__main__":
    main()
