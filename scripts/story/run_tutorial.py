"""Run every cell of the tutorial in a fresh kernel, and write the notebook with what they printed and drew.

On the CPU, and on the data that the notebook names. It needs the packages of: pip install -e ".[docs]"
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from minigru import cli
from minigru.training.files import replace_file

TUTORIAL = Path(__file__).resolve().parents[1] / "docs" / "tutorial.ipynb"
CELL_SECONDS = 180  # until a cell counts as hanging


def main() -> int:
    """Execute, then write."""
    parser = cli.Parser(description=__doc__)
    parser.add_argument(
        "--out", type=cli.output_file, default=TUTORIAL, metavar="FILE", help="default: docs/tutorial.ipynb itself"
    )
    options = parser.parse_args()
    missing = [name for name in ("nbclient", "ipykernel") if importlib.util.find_spec(name) is None]
    if missing:
        parser.error(f'{" and ".join(missing)} cannot be imported: pip install -e ".[docs]"')

    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellControlSignal, DeadKernelError

    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # the outputs that are kept are those of NumPy
    notebook = nbformat.read(TUTORIAL, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=CELL_SECONDS,
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(TUTORIAL.parent)}},
    )
    with cli.exit_on(1, CellControlSignal, DeadKernelError):
        client.execute()
    notebook.metadata.language_info.pop("version", None)  # or every Python would change the file
    with cli.exit_on(2, OSError):
        replace_file(options.out, lambda file: file.write(nbformat.writes(notebook).encode() + b"\n"))
    print(f"Notebook: {options.out}")
    return 0


if __name__ == "__main__":
    cli.run(main)
