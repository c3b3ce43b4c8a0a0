"""Write the table of modules in docs/house.md from the modules' docstrings: `python -m tests.house_map`."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "house.md"
HEAD = "| module | what lives there |\n|---|---|\n"


def map_of_modules(page: str) -> str:
    """Return the rows: packages in the order of the page's first table, then the other modules, each sorted by name."""
    order = re.findall(r"^\| `([a-z]+(?:/|\.py))` \|", page, re.MULTILINE)
    found = {path.relative_to(ROOT / "bulkreset").as_posix(): path for path in (ROOT / "bulkreset").rglob("*.py")}
    modules = [name for name in found if not name.endswith("__init__.py")]
    modules.sort(key=lambda name: (next((at for at, one in enumerate(order) if name.startswith(one)), 99), name))
    return "".join(f"| `bulkreset/{name}` | {_sentence(found[name])} |\n" for name in modules)


def _sentence(path: Path) -> str:
    """Return the first paragraph of the module's docstring."""
    found = re.match(r'"""(.*?)"""', path.read_text(encoding="utf-8"), re.DOTALL)  # parsing all modules takes long
    docstring = found[1] if found else ""
    return " ".join(docstring.partition("\n\n")[0].split()).removesuffix(".").replace("|", r"\|")


if __name__ == "__main__":
    old = PAGE.read_text(encoding="utf-8")
    before, rows = old.split(HEAD)
    after = rows[rows.index("\n\n") + 1 :]
    PAGE.write_text(before + HEAD + map_of_modules(old) + after, encoding="utf-8")
