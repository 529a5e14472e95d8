"""Which projects' tests are run on our loop, in which version, and how."""

from __future__ import annotations

import dataclasses
from pathlib import Path

HERE = Path(__file__).parent


@dataclasses.dataclass(frozen=True)
class Suite:
    """The tests of one project; what they need is in requirements/NAME.txt."""

    name: str
    version: str
    #: What pytest is given besides: where the tests are, and which of them are not for here.
    arguments: tuple[str, ...]
    #: The folder of the package inside of the source distribution, which would be imported instead
    #: of the installed one. None: the tests are installed with the package.
    package: str | None = None
    #: Files of tests, where they are not called test_*.py.
    pattern: str = "test_*.py"
    #: A logger that the project's own runner of tests silences.
    silenced: str = ""
    #: Seconds that one test may take, and the whole of them.
    test_limit: int = 120
    limit: int = 3600
    #: Processes of pytest-xdist, which has to be in the requirements. 0: none.
    jobs: int = 0

    @property
    def requirements(self) -> Path:
        return HERE / "requirements" / f"{self.name}.txt"


SUITES = (
    Suite(
        "aiohttp",
        "3.14.5",
        # Its own choice, and no benchmarks. Fast: the garbage is not collected after each test.
        (
            "tests",
            "--aiohttp-fast",
            "-m",
            "not dev_mode and not autobahn and not internal",
            "--ignore-glob=tests/test_benchmarks*",
        ),
        package="aiohttp",
        jobs=2,
    ),
    Suite("aioquic", "1.7.2", ("tests",), package="src"),
    Suite("aiosmtpd", "1.4.6", ("aiosmtpd/tests",)),
    # Tests marked "network" want the Internet; the others run on each backend, of which Trio has
    # no loop of asyncio.
    Suite("anyio", "4.16.0", ("tests", "-m", "not network", "-k", "not trio"), package="src"),
    Suite("asyncssh", "2.24.1", ("tests",), package="asyncssh", jobs=2),
    Suite("tornado", "6.6.1", ("tornado/test",), pattern="*_test.py", silenced="tornado.access"),
    Suite("uvicorn", "0.54.0", ("tests",), package="uvicorn", jobs=2),
)
