"""Peak memory of the chunked path on the largest batch, in a process of its own: a peak never falls."""

import json
import subprocess
import sys

import pytest

MEASURE = """
import json, sys, time, torch
from geomreg_mini import GeometryRegularizer

def resident(field):
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(field))

device = sys.argv[1]
torch.set_num_threads(1)
reg = GeometryRegularizer(chunk_size=1024)
small = {m: torch.randn(64, 256, device=device, requires_grad=True) for m in ("audio", "image")}
reg(small).total.backward()
z = {m: torch.randn(32768, 256, device=device, requires_grad=True) for m in ("audio", "image")}
before = resident("VmRSS") if device == "cpu" else torch.cuda.memory_allocated()
clock = time.process_time if device == "cpu" else time.perf_counter
start = clock()
reg(z).total.backward()
if device == "cuda":
    torch.cuda.synchronize()
seconds = clock() - start
peak = resident("VmHWM") if device == "cpu" else torch.cuda.max_memory_allocated()
print(json.dumps({"megabytes": (peak - before) / 1e6, "seconds": seconds}))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak memory of a process from /proc")
def test_peak_of_chunks(measured, device):
    run = subprocess.run([sys.executable, "-c", MEASURE, device], capture_output=True, text=True, check=True)
    found = json.loads(run.stdout)
    where = {"device": device, "B": 32768, "D": 256, "modalities": 2}
    measured("memory", "above the inputs, chunk_size=1024", **where, **found)
