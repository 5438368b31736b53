"""One thread a process: on shared cores, threads that wait for each other make small networks many times slower."""
import os

os.environ.setdefault('OMP_NUM_THREADS', '1')   # also for the commands that tests start
