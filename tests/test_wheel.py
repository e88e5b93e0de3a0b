"""The wheel, in an environment that holds only what Colab holds before the first cell; then a chapter there, and the Colab cell itself.

The environment borrows the packages installed here by links, so that nothing as large as torch is fetched; what Colab lacks is installed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.slow

# By name, of what a Colab runtime has installed; of versions those that are here. Not there, so installed by pip: loky, myst-nb, and
# whatever those two need.
COLAB = (
    "torch", "torchvision", "numpy", "scipy", "pandas", "scikit-learn", "pillow", "tqdm", "pydantic", "safetensors", "filelock",
    "plotly", "ipywidgets", "ipykernel", "ipython", "nbformat", "nbclient", "pyyaml", "requests", "sphinx", "setuptools", "wheel",
)  # fmt: skip


def closure(names):
    """Those distributions and all they require here, by canonical name."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    found, waiting = {}, [canonicalize_name(name) for name in names]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        try:
            found[name] = metadata.distribution(name)
        except metadata.PackageNotFoundError:  # an optional one, or of another platform
            continue
        for line in found[name].requires or ():
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(canonicalize_name(requirement.name))
    return found


@pytest.fixture(scope="module")
def colab(tmp_path_factory):
    """Python of an environment with Colab's packages and pip, nothing else of what is installed here."""
    folder = tmp_path_factory.mktemp("colab")
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    packages = folder / "packages"
    packages.mkdir()
    distributions = closure(COLAB)
    assert "mixkd" not in distributions
    assert "loky" not in distributions
    assert "myst-nb" not in distributions
    for distribution in distributions.values():
        for file in distribution.files or ():
            top = file.parts[0]
            if top not in ("..", "__pycache__") and not (packages / top).exists():
                (packages / top).symlink_to(distribution.locate_file(top))
    python = folder / "venv" / "bin" / "python"
    where = subprocess.run([python, "-c", "import site; print(site.getsitepackages()[0])"], capture_output=True, text=True, check=True)
    Path(where.stdout.strip(), "colab.pth").write_text(f"{packages}\n")
    return python


def clean():
    """Our environment without the checkout in it."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1", "PIP_NO_INPUT": "1"}


def call(*command, cwd):
    done = subprocess.run(list(map(str, command)), cwd=cwd, env=clean(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of the committed and the changed files here."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    shutil.copytree(ROOT / "mixkd", source / "mixkd", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    call(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, source, cwd=folder)
    [built] = folder.glob("*.whl")
    return built


def test_the_wheel_installs_beside_what_colab_has_and_runs_a_chapter(colab, wheel, tmp_path):
    said = call(colab, "-m", "pip", "install", f"{wheel}[notebook]", cwd=tmp_path)
    fetched = set(re.findall(r"^Collecting ([\w.-]+)", said, re.MULTILINE))
    assert not fetched & {"torch", "torchvision", "numpy", "pandas", "plotly"}, fetched
    where = call(colab, "-c", "import mixkd, torch; print(mixkd.__file__); print(torch.__file__)", cwd=tmp_path).splitlines()
    assert str(ROOT) not in where[0]
    assert str(ROOT) not in where[1] or ".venv" in where[1]
    # a chapter of the book, its cells one after the other, with a run trained by the installed library
    code = f"""
import json
cells = json.load(open({str(ROOT / "book" / "one-run.ipynb")!r}))["cells"]
names = {{"__name__": "__main__"}}
for cell in cells:
    if cell["cell_type"] == "code":
        source = "".join(cell["source"])
        if "REPOSITORY = " in source:
            continue  # the next test runs it
        exec(source, names)
        if "parameters" in cell["metadata"].get("tags", []):
            names |= dict(train=True, store={str(tmp_path / "runs")!r}, epochs=20, teacher_epochs=4)
print("accuracy", names["record"].report().accuracy)
"""
    said = call(colab, "-c", code, cwd=tmp_path)
    assert 0.2 < float(said.rpartition("accuracy ")[2]) < 1
    assert len([path for path in (tmp_path / "runs").iterdir() if not path.name.startswith(".")]) == 2


def test_the_colab_cell_clones_installs_and_the_chapter_runs(colab, tmp_path):
    """The notebook as committed: its first cell clones this repository and installs it."""
    script = ROOT / "tests" / "as_on_colab.py"
    said = call(colab, script, "--content", tmp_path / "content", ROOT / "book" / "07-overconfidence.ipynb", cwd=tmp_path)
    assert "1 of 1 notebooks ran; failed: none" in said
    assert "scale and store digits, committed" in said
