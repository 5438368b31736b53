"""Importing this lets a script import the modules of the project's root, from any working directory."""
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
