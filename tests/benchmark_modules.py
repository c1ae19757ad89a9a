"""The modules of ``benchmarks/``, which are scripts and no package."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

__all__ = ["BENCHMARKS", "ROOT", "module"]

ROOT = Path(__file__).resolve().parent.parent
BENCHMARKS = ROOT / "benchmarks"


def module(name: str) -> Any:
    """Import one of them."""
    # Behind all others: they import each other, and one has the name of a module of the tests.
    if str(BENCHMARKS) not in sys.path:
        sys.path.append(str(BENCHMARKS))
    if name != "peers":
        return importlib.import_module(name)
    spec = importlib.util.spec_from_file_location("benchmark_peers", BENCHMARKS / "peers.py")
    assert spec is not None and spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found
