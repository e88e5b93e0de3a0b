"""Imports go one way, and what must start fast does."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


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
