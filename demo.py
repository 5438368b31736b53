"""Serve the drawing page: draw in the browser and see the translation while you draw; sample, keep and blend styles.

    python demo.py                                                        # the shipped model
    python demo.py --checkpoint outputs/A/checkpoints/gen_00100000.pt outputs/B/checkpoints/gen_00100000.pt
    python demo.py --config configs/NAME.yaml --checkpoint gen_01000000.pt --style_folder datasets/NAME

The server accepts connections from this machine only, unless --host is given. It makes no request to any other machine
and stores no image: images are in memory only while a request is processed. It requires Gradio:
pip install -r requirements/demo.txt.

The style map shows the images of --style_folder, which is a folder with trainA and trainB or a folder of images of
domain B. By default, it is the map file next to the checkpoint (see `scripts/draw_style_map.py`). Without that file, it
is computed from the training images of the config, if they exist.

The text chunks of a saved PNG hold the settings and the `test.py --style_code` command that reproduces the image from
the saved input.
"""
from engine.cli import run_command
from extras.demo.server import main

if __name__ == '__main__':
    run_command(main)
