"""Imports go one way, and what must start fast does."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
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


def test_imports_go_down_the_list():
    command = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports())"
    out = subprocess.run([sys.executable, "-c", command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert out.returncode == 0, out.stdout


def test_help_does_not_import_torch():
    code = (
        "import sys\nfrom mixkd.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'pandas', 'pydantic', 'plotly'} & set(sys.modules)\nassert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_public_names_load():
    import mixkd

    for name in mixkd.__all__:
        assert getattr(mixkd, name) is not None
    assert callable(mixkd.run)
    assert callable(mixkd.collect)


def test_reading_records_imports_no_training_code():
    code = (
        "import sys, mixkd.records, mixkd.studies, mixkd.claims, mixkd.figures\n"
        "training = {'mixkd.train', 'mixkd.models', 'mixkd.objectives', 'mixkd.runs'} & set(sys.modules)\n"
        "assert not training, training"
    )
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


def test_the_check_for_new_names_can_fail():
    assert _numpy_names("x = np.linalg.vecdot(np.vecdot(a, b), c)") & NEW_IN_NUMPY_2 == {"linalg.vecdot", "vecdot"}
    if np.lib.NumpyVersion(np.__version__) >= "2.1.0":
        assert hasattr(np, "vecdot")  # the list names what is there
