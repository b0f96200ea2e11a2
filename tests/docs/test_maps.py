"""The maps in README.md and shmlog/README.md show the tree as it is.

`python tests/docs/test_maps.py` prints the rows of the table in shmlog/README.md.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
ARCHITECTURE = ROOT / "shmlog" / "README.md"

MODULE_SUFFIXES = {".py", ".pyx", ".h"}
BUILD_LEFTOVERS = {"build", "dist"}


def section(document: Path, title: str) -> str:
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", document.read_text(), re.MULTILINE | re.DOTALL)
    assert found, f"{document} has no section {title!r}"
    return found[1]


# --- README.md: a drawing of the top ----------------------------------------------------------------------------------


def drawn_paths() -> list[str]:
    """Paths of the drawing, from its indentation; folders end with a slash."""
    drawing = re.search(r"```text\n(.*?)```", section(README, "Map"), re.DOTALL)
    assert drawing
    folders: list[str] = []
    found: list[str] = []
    for line in drawing[1].splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        folders = [*folders[:depth], line.split()[0]]
        found.append("".join(folders))
    return found


@pytest.mark.parametrize("path", drawn_paths())
def test_what_the_readme_draws_exists(path: str) -> None:
    assert (ROOT / path).is_dir() if path.endswith("/") else (ROOT / path).is_file()


def test_the_readme_draws_everything_at_the_top() -> None:
    generated = BUILD_LEFTOVERS | {path.name for path in ROOT.glob("*.egg-info")}
    top = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")} - generated
    assert {path.rstrip("/") for path in drawn_paths() if path.count("/") == path.endswith("/")} == top - {"README.md"}


def test_the_readme_draws_every_package() -> None:
    packages = {f"shmlog/{path.parent.name}/" for path in (ROOT / "shmlog").glob("*/__init__.py")}
    assert {path for path in drawn_paths() if re.fullmatch(r"shmlog/\w+/", path)} == packages


# --- shmlog/README.md: a table of every file --------------------------------------------------------------------------


def tabled_modules() -> dict[str, list[str]]:
    """Folder -> names of its modules, from the rows `| folder/ | what it is | `module` ... |` of the table."""
    rows = re.findall(r"^\| `([\w/]+/)` \|.*\|([^|\n]*)\|$", section(ARCHITECTURE, "Map"), re.MULTILINE)
    return {folder: re.findall(r"`([\w.]+)`", modules) for folder, modules in rows}


def modules_of_the_tree() -> dict[str, list[str]]:
    """The same from the tree. Headers keep their suffix; `__init__` goes without saying."""
    found: dict[str, list[str]] = {}
    for top in ("shmlog", "workers", "tools"):
        for path in sorted((ROOT / top).rglob("*")):
            is_generated = path.suffix == ".c" or "__pycache__" in path.parts
            if path.suffix in MODULE_SUFFIXES and not is_generated:
                modules = found.setdefault(f"{path.parent.relative_to(ROOT)}/", [])
                if path.stem != "__init__":
                    modules.append(path.name if path.suffix == ".h" else path.stem)
    return {folder: sorted(modules) for folder, modules in found.items()}


def test_the_architecture_page_has_a_row_for_every_folder() -> None:
    assert sorted(tabled_modules()) == sorted(modules_of_the_tree())


def purpose(folder: str) -> str:
    """The first sentence of the package's docstring."""
    module = ast.parse((ROOT / folder / "__init__.py").read_text())
    return (ast.get_docstring(module) or "").partition("\n")[0]


@pytest.mark.parametrize("folder", sorted(modules_of_the_tree()))
def test_the_architecture_page_names_every_module(folder: str) -> None:
    assert sorted(tabled_modules().get(folder, [])) == modules_of_the_tree()[folder]


# --- links ------------------------------------------------------------------------------------------------------------

DOCUMENTS = [README, ARCHITECTURE, ROOT / ".github" / "CONTRIBUTING.md", ROOT / ".github" / "CHANGELOG.md"]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_documents_and_files_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text())
    assert [link for link in links if not (document.parent / link).exists()] == []


if __name__ == "__main__":
    for folder, modules in modules_of_the_tree().items():
        print(f"| `{folder}` | {purpose(folder)} | {' '.join(f'`{module}`' for module in modules)} |")
