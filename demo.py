"""A page in the browser: draw, and see it translated while you draw; sample, keep, blend and look for styles.

    python demo.py                                                        # the model that comes along
    python demo.py --checkpoint outputs/A/checkpoints/gen_00100000.pt outputs/B/checkpoints/gen_00100000.pt
    python demo.py --config configs/NAME.yaml --checkpoint gen_01000000.pt --style_folder datasets/NAME

It runs on this machine alone, unless --host says otherwise, asks nothing of any other, and keeps no picture: they are
in memory as long as a request lasts. Needs Gradio: pip install -r requirements/demo.txt.

The style map shows pictures of --style_folder (a folder that holds trainA and trainB, or one of B's pictures), or else
the map beside the checkpoint (`scripts/draw_style_map.py`), or else the config's training images, where they are there.

A saved PNG says in its text chunks how to make it again; with the saved input, `test.py --style_code` does.
"""
from engine.cli import run_command
from extras.demo.server import main

if __name__ == '__main__':
    run_command(main)
