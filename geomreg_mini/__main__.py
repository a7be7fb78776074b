"""Print the geometry of the embeddings in an npz file, and write it as a page.

    python -m geomreg_mini embeddings.npz --labels y --html report.html

Each array (N, D) of the file is a modality; row i is the same sample in all. Labels are an array (N,).
"""

import argparse
import sys
from pathlib import Path

from data_scripts.fetch import write_atomically
from data_scripts.output import until_closed

from .data.dataset import read_npz
from .measure import measure
from .regularizer import GeometryRegularizer


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit status, 2 for a fault of the file or of an argument."""
    add = (parser := argparse.ArgumentParser("python -m geomreg_mini")).add_argument
    parser.description = (__doc__ or "").split("\n")[0]  # python -OO drops it
    add("file", help="npz file with an array (N, D) for each modality")
    add("--labels", metavar="NAME", help="array of the labels (default: labels, if the file has it)")
    add("--html", metavar="FILE", help="write the report as a page, too")
    words = "of the agreement band, from 0 to 2 (default: %(default)s)"
    add("--radius", type=float, default=GeometryRegularizer.radius, help=words)
    add("--rows", type=int, default=2000, help="largest number of rows to measure (default: %(default)s)")
    options = parser.parse_args(arguments)
    try:
        arrays = read_npz(options.file)
        if options.labels is not None and options.labels not in arrays:
            raise ValueError(f"{options.file} has no array {options.labels!r}; it has {', '.join(arrays)}.")
        labels = arrays.pop(options.labels or "labels", None)
        if not arrays:
            raise ValueError(f"{options.file} has no embeddings; write an array (N, D) for each modality.")
        measured = measure(arrays, labels, radius=options.radius, rows=options.rows)
        if options.html:
            write_atomically(Path(options.html), measured.html(Path(options.file).name).encode())
    except (OSError, ValueError) as error:
        print(f"geomreg_mini: {error}", file=sys.stderr)
        return 2
    print(measured)
    return 0


if __name__ == "__main__":
    sys.exit(until_closed(main))
