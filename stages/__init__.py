"""The eight stages of the pipeline, one module each, and the library that they share."""

import sys

from stages.core.interrupt import exit_at_once, on_interrupt

if sys.argv[:1] == ["-m"]:  # ``python -m stages…`` is starting, and its imports take many seconds
    on_interrupt(exit_at_once)
