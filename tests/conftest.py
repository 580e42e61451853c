"""What all tests share: pytester, and how Hypothesis behaves."""

from __future__ import annotations

import os

from hypothesis import settings

pytest_plugins = ["pytester"]

# No deadlines: the first example of a test opens onnxruntime, and machines differ.
settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")

# Runs within tests must not write into the summary of the job that runs the tests.
os.environ.pop("GITHUB_STEP_SUMMARY", None)
