"""Check that the installed versions are the lowest that pyproject.toml allows: `python -m tests.floors`.

`make lowest` runs it. If other requirements prevent a lower bound from being installed, nobody has tested it.
"""

import re
import sys
from importlib.metadata import metadata, requires, version

from packaging.requirements import Requirement
from packaging.version import Version


def untried(distribution: str) -> list[str]:
    """Return a line for each requirement of all extras whose lower bound is missing or is not the installed version."""
    extras = metadata(distribution).get_all("Provides-Extra") or []
    found = []
    for text in requires(distribution) or []:
        requirement = Requirement(text)
        if requirement.marker and not any(requirement.marker.evaluate({"extra": extra}) for extra in extras):
            continue  # for another Python or system
        bound = re.search(r">=([^,]+)", str(requirement.specifier))
        installed = version(requirement.name)
        if not bound or Version(bound[1]) != Version(installed):
            found.append(f"{requirement.name}: {requirement.specifier or 'no bound'}, installed is {installed}")
    return found


if __name__ == "__main__":
    wrong = untried("bulkreset")
    sys.stdout.write(
        "\n".join(["lowest versions tried: all but", *wrong] if wrong else ["all lowest versions tried"]) + "\n"
    )
    sys.exit(bool(wrong))
