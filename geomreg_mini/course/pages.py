"""Notebooks as HTML: one self-contained page of an executed notebook."""

from __future__ import annotations

import base64
import html

import nbformat
from nbconvert import HTMLExporter


def to_html(notebook: nbformat.NotebookNode) -> str:
    """One self-contained page; figures keep the alt text of their metadata, which nbconvert would drop."""
    for output in (o for cell in notebook.cells for o in cell.get("outputs", [])):
        alt = output.get("metadata", {}).get("image/png", {}).get("alt")
        if alt and "image/png" in output.get("data", {}):
            png = base64.b64encode(base64.b64decode(output.data.pop("image/png"))).decode()
            output.data["text/html"] = f'<img alt="{html.escape(alt)}" src="data:image/png;base64,{png}">'
    return HTMLExporter(template_name="lab").from_notebook_node(notebook)[0]
