"""Runs notebooks from top to bottom and compares their outputs with the committed ones; `--record` commits the new ones.

Times may differ, and a picture by what another machine's rounding makes of it. A notebook whose output names a place on
this machine is refused.
"""

import argparse
import base64
import difflib
import io
import re
import sys
import time
from pathlib import Path

import matplotlib.image
import nbformat
import numpy
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError

NOTEBOOKS = Path(__file__).resolve().parent
# Seconds for one cell.
PATIENCE = 120
# A time on a clock of the host: 0.027308.
TIME = re.compile(r"\b\d+\.\d{6}\b")


def execute(path):
    """The notebook as it is after running, with nothing in it that differs from run to run."""
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=PATIENCE, resources={"metadata": {"path": str(NOTEBOOKS)}}).execute()
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        cell.metadata = {}
    return notebook


def joined(outputs):
    """Outputs in which what is printed in one go is one: how often a kernel flushes is a matter of time."""
    result = []
    for output in outputs:
        before = result[-1] if result else None
        if before and output.output_type == before.output_type == "stream" and output.name == before.name:
            before.text += output.text
        else:
            result.append(output)
    return result


def texts(output):
    """What an output says, without times."""
    if output.output_type == "stream":
        said = {output.name: output.text}
    else:
        said = {kind: content for kind, content in output.data.items() if not kind.startswith("image/")}
    return {kind: TIME.sub("TIME", content) for kind, content in said.items()}


def pictures(output):
    encoded = getattr(output, "data", {}).get("image/png")
    return [matplotlib.image.imread(io.BytesIO(base64.b64decode(encoded)))] if encoded else []


def look_alike(one, other):
    return len(one) == len(other) and all(
        a.shape == b.shape and numpy.abs(a - b).mean() < 0.002 for a, b in zip(one, other)
    )


def differences(committed, executed):
    """What is not as committed, as lines for a person."""
    for number, (before, after) in enumerate(zip(committed.cells, executed.cells), 1):
        old, new = joined(before.get("outputs", [])), joined(after.get("outputs", []))
        if len(old) != len(new):
            yield f"cell {number}: {len(new)} outputs, {len(old)} are committed"
        for one, other in zip(old, new):
            if texts(one) != texts(other):
                yield f"cell {number} says something else:"
                pair = ["\n".join(texts(output).values()).splitlines() for output in (one, other)]
                yield from difflib.unified_diff(*pair, "committed", "executed", lineterm="", n=1)
            if not look_alike(pictures(one), pictures(other)):
                yield f"cell {number} draws something else"


def places(notebook):
    """Names of places on this machine in the outputs."""
    found = re.compile("|".join(map(re.escape, {str(NOTEBOOKS.parent), str(Path.home()) + "/", "/tmp/"})))
    for number, cell in enumerate(notebook.cells, 1):
        for output in cell.get("outputs", []):
            for content in texts(output).values():
                if match := found.search(content):
                    yield f"cell {number} names {match[0]}, which is a place on this machine"


def main():
    parser = argparse.ArgumentParser(prog="notebooks/run", description=__doc__.split("\n\n")[0])
    parser.add_argument("--record", action="store_true", help="write the new outputs into the notebooks")
    parser.add_argument("notebooks", nargs="*", type=Path, default=sorted(NOTEBOOKS.glob("*.ipynb")))
    arguments = parser.parse_args()
    failed = False
    for path in arguments.notebooks:
        start = time.monotonic()
        try:
            executed = execute(path)
        except (CellExecutionError, CellTimeoutError) as error:
            complaints = [str(error)]
        else:
            complaints = list(places(executed))
            if arguments.record and not complaints:
                nbformat.write(executed, path)
            elif not arguments.record:
                complaints += differences(nbformat.read(path, as_version=4), executed)
        failed = failed or bool(complaints)
        print(f"{path.name}: {'differs' if complaints else 'recorded' if arguments.record else 'as committed'}"
              f" ({time.monotonic() - start:.1f} s)")
        print(*complaints, sep="\n", end="\n" if complaints else "")
    sys.exit(failed)


main()
