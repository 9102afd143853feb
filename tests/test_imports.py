"""Who may import whom: one direction, light at the edges, no pickles."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DAGS = sorted((ROOT / "dags").rglob("*.py"))
MODULES = sorted((ROOT / "pipeline").rglob("*.py"))
CODE = [
    *MODULES,
    *DAGS,
    *(f for d in ("plugins", "benchmarks") for f in sorted((ROOT / d).glob("*.py"))),
]

# A module imports its own layer's and lower ones only; parts of one layer do not know each other.
LAYERS = (
    {"columns", "errors", "digests", "reasons"},
    {"schemas", "config"},
    {"configuration"},
    {"progress", "hashing"},
    {"storage"},
    {"sequences", "demo_data"},
    {"sources", "encoders", "models"},
    {"evaluation", "page"},
    {"exports"},
    {"steps"},
    {"console"},
    {"commands"},
    {"cli"},
    {"__main__"},
)
RANK = {part: rank for rank, layer in enumerate(LAYERS) for part in layer}

HEAVY = {"torch", "polars", "transformers", "matplotlib"}
PICKLERS = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve"}
UNSAFE_ATTRIBUTES = {("torch", "load"), ("torch", "save"), ("torch.package", "PackageImporter")}


def name_of(file: Path) -> str:
    return str(file.relative_to(ROOT))


def imported(tree: ast.AST) -> Iterator[str]:
    """Every module that is imported anywhere in the file, inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import"
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def parts_of(modules: Iterator[str]) -> set[str]:
    """The parts of `pipeline` among the modules: "pipeline.steps.embed" -> "steps"."""
    split = [module.split(".") for module in modules]
    return {names[1] for names in split if names[0] == "pipeline" and len(names) > 1}


def loaded_by(code: str, environ: dict[str, str] | None = None) -> set[str]:
    """Which of the heavy packages a fresh interpreter holds after running the code."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | (environ or {}),
    )
    assert done.returncode == 0, done.stderr
    return HEAVY & set(done.stdout.splitlines()[-1].split())


def test_importing_the_command_line_loads_nothing_heavy() -> None:
    assert loaded_by("import pipeline.cli") == set()


def test_parsing_the_dags_loads_nothing_heavy(tmp_path: Path) -> None:
    assert DAGS
    code = f"import runpy, sys; sys.path.insert(0, {str(ROOT / 'dags')!r})\n"
    code += "\n".join(f"runpy.run_path({str(file)!r})" for file in DAGS)
    assert loaded_by(code, {"AIRFLOW_HOME": str(tmp_path)}) == set()


def test_steps_that_compute_no_tensors_do_not_load_torch() -> None:
    """Airflow runs each of them in a process of its own, every night."""
    steps = ("ingest", "embed", "plan", "publish", "status", "maintain")
    code = "\n".join(f"import pipeline.steps.{step}" for step in steps)
    assert "torch" not in loaded_by(code)


@pytest.mark.parametrize("file", MODULES, ids=name_of)
def test_imports_go_one_way(file: Path) -> None:
    own = file.relative_to(ROOT / "pipeline").parts[0].removesuffix(".py")
    found = parts_of(imported(ast.parse(file.read_text()))) - {own, "__version__"}
    if own == "__init__":
        assert not found
        return
    assert own in RANK, f"pipeline/{own} stands in no layer: give it one in {Path(__file__).name}"
    upward = {part for part in found if RANK[part] >= RANK[own]}
    assert not upward, f"{name_of(file)} imports {upward} from its own layer or above"


@pytest.mark.parametrize("file", MODULES, ids=name_of)
def test_the_package_knows_neither_airflow_nor_vllm(file: Path) -> None:
    roots = {module.split(".")[0] for module in imported(ast.parse(file.read_text()))}
    assert "airflow" not in roots
    assert "vllm" not in roots or name_of(file) == "pipeline/encoders/vllm.py"


@pytest.mark.parametrize("file", CODE, ids=name_of)
def test_nothing_is_pickled(file: Path) -> None:
    tree = ast.parse(file.read_text())
    assert not PICKLERS & {module.split(".")[0] for module in imported(tree)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            assert (ast.unparse(node.value), node.attr) not in UNSAFE_ATTRIBUTES, node.lineno
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            assert ast.unparse(node.value) == "False", node.value.lineno
