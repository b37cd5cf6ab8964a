"""The cells of the documentation for notebooks, run in a kernel of Jupyter."""

import pytest

from ..support.pages import DOCS, blocks

PAGE = DOCS / "howto" / "embed.md"
ASK = "import asyncio, urllib.request\nprint((await asyncio.to_thread(urllib.request.urlopen, server.url)).read())"


@pytest.mark.timeout(120)
def test_cells() -> None:
    """A server is started in one cell, asked in another, and stopped in a third."""
    nbformat = pytest.importorskip("nbformat", reason="needs nbclient and ipykernel: nox -s desktop")
    nbclient = pytest.importorskip("nbclient", reason="needs nbclient and ipykernel: nox -s desktop")
    pytest.importorskip("ipykernel", reason="needs nbclient and ipykernel: nox -s desktop")
    cells = [block.text for block in blocks(PAGE) if block.language == "python" and block.file is None]
    start, stop = cells
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in (start, ASK, stop)])
    nbclient.NotebookClient(notebook, timeout=30).execute()
    assert notebook.cells[1].outputs[0].text == "b'{\"rows\":[1,2,3]}'\n"
    assert [output for output in notebook.cells[2].outputs if output.output_type == "error"] == []
