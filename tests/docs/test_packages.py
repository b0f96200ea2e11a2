"""pyproject.toml names every package and every extension module of the tree, and nothing else.

`packages` is an explicit list because `workers` and `tools` install as parts of `shmlog`; a package that the list
forgets would be missing only after a real installation.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from shmlog.version import VERSION

ROOT = Path(__file__).parents[2]
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
SETUPTOOLS: dict[str, Any] = PYPROJECT["tool"]["setuptools"]
EXTENSIONS: list[dict[str, Any]] = SETUPTOOLS["ext-modules"]


def packages_of_the_tree() -> set[str]:
    found: set[str] = set()
    for installed, folder in SETUPTOOLS["package-dir"].items():
        for module in (ROOT / folder).rglob("*.py"):
            inner = module.parent.relative_to(ROOT / folder).parts
            if "__pycache__" not in inner:
                found.add(".".join([installed, *inner]))
    return found


def folder_of(package: str) -> Path:
    """Where a package of `packages` lies in the checkout: under the longest entry of `package-dir`."""
    base = max((name for name in SETUPTOOLS["package-dir"] if f"{package}.".startswith(f"{name}.")), key=len)
    return ROOT.joinpath(SETUPTOOLS["package-dir"][base], *package.removeprefix(base).strip(".").split("."))


def test_the_list_of_packages_is_the_tree() -> None:
    assert SETUPTOOLS["packages"] == sorted(packages_of_the_tree())


@pytest.mark.parametrize("package", SETUPTOOLS["packages"])
def test_every_package_says_what_it_is_for(package: str) -> None:
    first = (folder_of(package) / "__init__.py").read_text().partition("\n")[0]
    assert first.startswith('"""')
    assert len(first) > 20


def test_every_cython_module_is_built_once_from_its_own_source() -> None:
    sources = [f"shmlog/native/{path.name}" for path in (ROOT / "shmlog" / "native").glob("*.pyx")]
    assert sorted(source for module in EXTENSIONS for source in module["sources"]) == sorted(sources)
    for module in EXTENSIONS:
        assert module["sources"] == [module["name"].replace(".", "/") + ".pyx"]


@pytest.mark.parametrize("module", EXTENSIONS, ids=lambda module: str(module["name"]))
def test_an_extension_module_has_types_and_is_built_again_when_its_headers_change(module: dict[str, Any]) -> None:
    source = ROOT / module["sources"][0]
    assert source.with_suffix(".pyi").exists()
    missing = [name for name in module.get("depends", []) if not (ROOT / name).exists()]
    assert missing == []


def test_the_version_is_the_same_everywhere() -> None:
    assert PYPROJECT["project"]["version"] == VERSION
    changelog = (ROOT / ".github" / "CHANGELOG.md").read_text()
    assert f"## {VERSION}\n" in changelog


def test_extras_have_the_promised_names() -> None:
    extras = PYPROJECT["project"]["optional-dependencies"]
    assert set(extras) >= {"demo", "test", "all"}
    everything = sorted(name for name in extras if name != "all")
    assert extras["all"] == [f"shmlog[{','.join(everything)}]"]
