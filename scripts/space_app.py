"""Serve the drawing page on a host such as a Gradio Space. Copy this file there as app.py, next to this project as
`munit/`.

    python scripts/space_app.py      # http://localhost:7860, reachable from other machines

docs/demo.md shows the three files of a Space. As with demo.py, uploads and file access are disabled.
"""
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = next(folder for folder in (HERE / 'munit', HERE, HERE.parent) if (folder / 'extras' / 'demo').is_dir())
sys.path.insert(0, str(ROOT))   # _root cannot be imported from a copy of this file

from engine.cli import run_command  # noqa: E402
from extras.demo.server import main  # noqa: E402

CHECKPOINTS: list[str] = []   # the page offers a choice of several; if empty, the shipped model is used

if __name__ == '__main__':
    arguments = ['--host', '0.0.0.0', '--port', os.environ.get('PORT', '7860'), '--embed_in', 'https://huggingface.co',
                 *(['--checkpoint', *CHECKPOINTS] if CHECKPOINTS else [])]
    run_command(lambda: main(arguments))
