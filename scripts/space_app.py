"""The drawing page as a hosted page, such as a Gradio Space: copied there as app.py, beside this project as `munit/`.

    python scripts/space_app.py      # http://localhost:7860, for every machine that reaches this one

docs/demo.md shows the three files of a Space. Uploads, files and Gradio's own interface stay shut, as for demo.py.
"""
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = next(folder for folder in (HERE / 'munit', HERE, HERE.parent) if (folder / 'extras' / 'demo').is_dir())
sys.path.insert(0, str(ROOT))   # not by _root, which is not there where this is a copy

from engine.cli import run_command  # noqa: E402
from extras.demo.server import main  # noqa: E402

CHECKPOINTS: list[str] = []   # the page offers a choice of several; with none, the model that comes along

if __name__ == '__main__':
    arguments = ['--host', '0.0.0.0', '--port', os.environ.get('PORT', '7860'), '--embed_in', 'https://huggingface.co',
                 *(['--checkpoint', *CHECKPOINTS] if CHECKPOINTS else [])]
    run_command(lambda: main(arguments))
