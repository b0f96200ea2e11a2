"""README.md documents every setting with its name, default and sentence from shmlog/settings.py.

`python tests/docs/test_settings.py` prints what belongs between the two marks.
"""

from __future__ import annotations

import re
from pathlib import Path

from shmlog.control.config_file import load_config
from shmlog.setting import Setting
from shmlog.setting_tables import SCOPES
from shmlog.settings import as_text

README = Path(__file__).parents[2] / "README.md"
MARKED = re.compile(r"<!-- settings: .*? -->\n(.*?)<!-- end of settings -->", re.DOTALL)
NO_LIMIT = 2**63 - 1


def default_text(setting: Setting) -> str:
    if setting.kind == "mode":
        return f"{setting.default:o}"
    if setting.kind == "acks":
        return "all"
    if setting.default in (None, "", ()):
        return ""
    if setting.default == NO_LIMIT:
        return "2^63-1"
    return setting.default if setting.kind == "choice" else as_text(setting.default)


def sentences(setting: Setting) -> str:
    late = "" if setting.takes_effect == "at once" else f" (A change takes effect {setting.takes_effect}.)"
    return setting.doc + late


def tables() -> str:
    parts: list[str] = []
    for scope, settings in SCOPES.items():
        rows = [f"| `{name}` | {default_text(setting)} | {sentences(setting)} |" for name, setting in settings.items()]
        parts.append("\n".join([f"| {scope} | default | |", "|---|---|---|", *rows]))
    return "\n" + "\n\n".join(parts) + "\n\n"


def test_the_readme_documents_every_setting() -> None:
    found = MARKED.search(README.read_text())
    assert found, "README.md has lost the marks around its tables of settings"
    assert found[1] == tables()


def test_the_readmes_configuration_file_is_one(tmp_path: Path) -> None:
    sample = re.search(r"^```toml\n(.*?)^```", README.read_text(), re.MULTILINE | re.DOTALL)
    assert sample
    file = tmp_path / "shmlog.toml"
    file.write_text(sample[1])
    config = load_config(str(file))
    assert (config.num_partitions, config.shm_mode) == (6, 0o660)
    assert config.topic_defaults == {"retention.ms": "86400000", "max.message.bytes": "262144"}


if __name__ == "__main__":
    print(tables())
