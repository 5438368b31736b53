"""Use one thread per process: on shared cores, several threads make small networks many times slower."""
import os

os.environ.setdefault('OMP_NUM_THREADS', '1')   # for the commands that tests start, too
