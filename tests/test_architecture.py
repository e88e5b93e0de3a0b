"""What must start fast does, and no name is newer than what is required."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# Public names of NumPy 2 that NumPy 1.26 lacks, by the namespaces that are used here.
NEW_IN_NUMPY_2 = {
    "acos", "acosh", "asin", "asinh", "astype", "atan", "atan2", "atanh", "bitwise_count", "bitwise_invert", "bitwise_left_shift",
    "bitwise_right_shift", "bool", "concat", "cumulative_prod", "cumulative_sum", "isdtype", "linalg.cross", "linalg.diagonal",
    "linalg.matmul", "linalg.matrix_norm", "linalg.matrix_transpose", "linalg.outer", "linalg.svdvals", "linalg.tensordot",
    "linalg.trace", "linalg.vecdot", "linalg.vector_norm", "long", "matrix_transpose", "matvec", "permute_dims", "pow", "strings",
    "trapezoid", "ulong", "unique_all", "unique_counts", "unique_inverse", "unique_values", "unstack", "vecdot", "vecmat",
}  # fmt: skip


@pytest.mark.parametrize(
    ("code", "unwanted"),
    [
        ("from mixkd.cli import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass", ["torch", "pandas", "pydantic", "plotly"]),
        ("import mixkd.claims, mixkd.figures, mixkd.studies", [f"mixkd.{name}" for name in ("train", "models", "objectives", "runs")]),
    ],
)
def test_what_must_start_fast_does_not_load_the_rest(code, unwanted):
    code = f"{code}\nimport sys\nfound = set({unwanted}) & set(sys.modules)\nassert not found, found"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert out.returncode == 0, out.stderr


def _numpy_names(code: str) -> set[str]:
    """The dotted names under ``np`` that a piece of Python uses."""
    return {
        ast.unparse(node).removeprefix("np.")
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Attribute) and ast.unparse(node).startswith("np.")
    }


@pytest.mark.parametrize("folder", ["mixkd", "benchmarks", "tests", "book"])
def test_no_name_is_newer_than_the_numpy_that_is_required(folder):
    """``pyproject.toml`` says numpy >= 1.26."""
    found = {}
    for path in sorted((ROOT / folder).rglob("*.py")):
        found[path.name] = _numpy_names(path.read_text(encoding="utf-8")) & NEW_IN_NUMPY_2
    for path in sorted((ROOT / folder).glob("*.md")):
        cells = re.findall(r"^```(?:\{code-cell\} ipython3|python)\n(.*?)^```", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
        used = set().union(*(set(re.findall(r"\bnp\.([\w.]+)", cell)) for cell in cells))
        found[path.name] = used & NEW_IN_NUMPY_2
    assert not {name: sorted(names) for name, names in found.items() if names}
