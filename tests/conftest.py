"""What holds for all tests."""

from __future__ import annotations

import logging

# A line for each connection is not what tests look for in the log; those that do give the logger a level of their own.
logging.getLogger("syncws.access").setLevel(logging.WARNING)
