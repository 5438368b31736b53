"""Profile a few training iterations with torch.profiler, and list operations by their share of the time.

    python benchmarks/profile_step.py --case 256,64,1,bf16,compile --output profile.txt
    python benchmarks/profile_step.py --case 128,32 --way original
"""
import argparse
import sys
from pathlib import Path

import torch
from speed import WAYS, Case, iterate, make_images, make_trainer, synchronize
from torch.profiler import ProfilerActivity, profile


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--case', type=Case.read, default=Case(128, 32), help='size,dim[,batch[,precision[,compile]]]')
    parser.add_argument('--way', choices=WAYS, default='update', help='implementation to profile')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--rows', type=int, default=30)
    parser.add_argument('--output', help='text file to write')
    opts = parser.parse_args()
    device = torch.device(opts.device)
    trainer, x = make_trainer(opts.case, opts.way, device), make_images(opts.case, device)
    for _ in range(4):
        iterate(trainer, opts.way, *x)
    synchronize(device)
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device.type == 'cuda' else [])
    with profile(activities=activities) as profiler:
        for _ in range(3):
            iterate(trainer, opts.way, *x)
        synchronize(device)
    by = 'self_cuda_time_total' if device.type == 'cuda' else 'self_cpu_time_total'
    table = profiler.key_averages().table(sort_by=by, row_limit=opts.rows, max_name_column_width=70)
    print(table)
    if opts.output:
        Path(opts.output).write_text(f'{opts.case}, {opts.way}, three iterations\n{table}\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
