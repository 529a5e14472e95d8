"""What all tests share: property tests are deterministic and have no deadline of their own."""

from __future__ import annotations

import hypothesis

# The examples are the same in every run, so a failure is found again. How long one may take is the
# business of the test's time limit: a loaded machine is no failure.
hypothesis.settings.register_profile("project", derandomize=True, deadline=None)
hypothesis.settings.load_profile("project")
