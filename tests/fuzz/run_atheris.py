"""Runs atheris: ``python tests/fuzz/run_atheris.py`` runs every target for a while, ``--target NAME`` one of them.

What follows is for libFuzzer, for example ``-max_total_time=600`` or the path of an input to run. Without ``--target``,
the environment variable FUZZ_SECONDS says how long each target runs (default: 20), and libFuzzer's figures are shown
in one line each. FUZZ_SEED says where chance begins (default: 1, so that CI does not stop a change for what it has
nothing to do with; 0: anywhere, to find more). An input that fails is written to the current directory, or to the one
that FUZZ_ARTIFACTS names; the status is then 1. Without atheris it says so and does nothing, but fails if CI is set.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT.parent))


def run(name: str, arguments: list[str]) -> None:
    """Let libFuzzer run a target; does not return."""
    import atheris

    with atheris.instrument_imports(include=["syncws"]):
        from fuzz.targets import TARGETS

    target = TARGETS[name]
    atheris.Setup([sys.argv[0], *arguments], lambda data: target(bytes(data)))
    atheris.Fuzz()


def run_all(names: list[str], seconds: int) -> int:
    """Run each target in a process of its own; return how many of them failed."""
    failed = 0
    artifacts = Path(os.environ.get("FUZZ_ARTIFACTS", ".")).resolve()
    artifacts.mkdir(parents=True, exist_ok=True)
    for name in names:
        # What is found goes to the first directory, which is not kept.
        with tempfile.TemporaryDirectory() as found:
            command = [
                *(sys.executable, __file__, "--target", name),
                *(f"-max_total_time={seconds}", "-max_len=2048", "-timeout=10", "-rss_limit_mb=1024"),
                *(f"-seed={os.environ.get('FUZZ_SEED', '1')}", "-print_final_stats=1"),
                *(f"-artifact_prefix={artifacts}/{name}-", found, str(ROOT / "corpus" / name)),
            ]
            result = subprocess.run(
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
            )
        if result.returncode:
            failed += 1
            print("\n".join(result.stdout.splitlines()[-40:]))
            print(f"{name}: FAILED; once it is fixed, check the input in, in {ROOT.name}/corpus/{name}", flush=True)
        else:
            print(f"{name}: {figures(result.stdout)}", flush=True)
    return failed


def figures(log: str) -> str:
    """libFuzzer's figures, in a few words."""
    counts = dict(re.findall(r"stat::(\w+):\s+(\d+)", log))
    edges = re.findall(r" cov: (\d+) ft: (\d+)", log)
    return (
        f"{counts['number_of_executed_units']} inputs, {counts['average_exec_per_sec']}/s, "
        f"{counts['new_units_added']} new, {edges[-1][0]} edges and {edges[-1][1]} features of the code, "
        f"{counts['peak_rss_mb']} MB"
    )


def main(arguments: list[str]) -> int:
    if importlib.util.find_spec("atheris") is None:
        print("atheris is not installed; there are wheels for CPython 3.10 to 3.14 on x86-64 Linux: nothing is run")
        return 1 if os.environ.get("CI", "").lower() in {"1", "true", "yes"} else 0
    if arguments[:1] == ["--target"]:
        run(arguments[1], arguments[2:])
    from fuzz.targets import TARGETS

    return 1 if run_all(list(TARGETS), int(os.environ.get("FUZZ_SECONDS", "20"))) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
