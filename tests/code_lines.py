"""Count code lines, that is lines without docstrings, comments and blank lines, of files and folders.

python tests/code_lines.py geomreg_mini experiments notebooks data_scripts tests
"""

import ast
import io
import sys
import tokenize
from pathlib import Path

NO_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
NO_CODE |= {tokenize.ENDMARKER}


def code_lines(source: str) -> int:
    """Return the number of lines of Python source on which code stands."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in NO_CODE:
            lines |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
            lines -= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return len(lines)


def python_files(path: Path) -> list[Path]:
    """Return a file, or the Python files below a folder."""
    return [path] if path.is_file() else sorted(path.rglob("*.py"))


if __name__ == "__main__":
    for name in sys.argv[1:]:
        files = python_files(Path(name))
        print(f"{name}: {len(files)} files, {sum(code_lines(f.read_text()) for f in files):,} code lines")
