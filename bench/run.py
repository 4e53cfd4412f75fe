"""What `make bench` runs: bench_models, bench/memory.py and bench_kernels, one after the other; prints one report and writes
all figures as JSON.

    bench/run.py [--build build] [--output build/bench.json] [--threads 2] [--repetitions 7] [--quick]
"""
import argparse
import json
import pathlib
import platform
import re
import subprocess
import sys
import tempfile
import time

import memory

ROOT = pathlib.Path(__file__).resolve().parent.parent


def models(options):
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        only = ["--model", "ppocr_cls,squeezenet"] if options.quick else []
        subprocess.run([str(options.build / "bench_models"), "--threads", str(options.threads), "--repetitions", str(options.repetitions),
                        "--output", file.name, *only], check=True, stdout=subprocess.DEVNULL)
        return json.load(open(file.name))["models"]


def kernels(options):
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        only = ["--benchmark_filter=elements:262144|qdq/.*elements:2.*bits:8"] if options.quick else []
        subprocess.run([str(options.build / "bench_kernels"), f"--benchmark_out={file.name}", *only], check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        return json.load(open(file.name))["benchmarks"]


def model_table(results, memories):
    lines = ["| model | plain ms | observe ms | simulate ms | observe / plain | simulate / plain | observing / observers alone |"
             " observers GB/s | run MiB | calibrate MiB | calibrate / run | many batches MiB |", "|" + "---|" * 12]
    for name, r in results.items():
        plain, observe, simulate = (r[run]["median_ms"] for run in ("plain", "observe", "simulate"))
        line = f"| {name} | {plain:.3g} | {observe:.3g} | {simulate:.3g} | {observe / plain:.2f} | {simulate / plain:.2f} |"
        line += f" {r['observing_ms'] / r['observer_ms']:.2f} | {r['observer_gbs']:.1f} |"
        m = memories.get(name)
        lines.append(line + (f" {m['run_mib']:.0f} | {m['calibrate_mib']:.0f} | {m['ratio']:.2f} | {m['many_mib']:.0f} ({m['many_batches']}) |"
                             if m else " | | | |"))
    return lines


def kernel_table(results):
    """8 bits; the other widths are in the JSON. A share of 1 is the speed of memory (or of the cache that holds the case)."""
    rows, devices = {}, []
    for r in results:
        name = re.sub(r"/(min_time|real_time).*", "", r["name"])
        if "/bits:" in name and "/bits:8" not in name:
            continue
        name, device = name.replace("/bits:8", "").rsplit("/", 1)
        if device not in devices:
            devices.append(device)
        share = next((f" ({r[key]:.2f} of {key[3:]})" for key in ("of_copy", "of_read") if key in r), "")
        rows.setdefault(name, {})[device] = f"{r['GB/s']:.1f} GB/s{share}" if "GB/s" in r else f"{r['fastest_ms']:.0f} ms"
    lines = ["| kernel | " + " | ".join(devices) + " |", "|---|" + "---|" * len(devices)]
    return lines + [f"| {name} | " + " | ".join(cells.get(device, "") for device in devices) + " |" for name, cells in rows.items()]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build")
    parser.add_argument("--output", type=pathlib.Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="a few models and kernels: does it work?")
    options = parser.parse_args()
    options.build = options.build.resolve()
    output = options.output or options.build / "bench.json"

    cpu = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    report = {"date": time.strftime("%Y-%m-%d"), "cpu": cpu, "threads": options.threads}
    print("bench: models", file=sys.stderr, flush=True)
    report["models"] = models(options)
    print("bench: memory", file=sys.stderr, flush=True)
    real = ["ppocr_cls"] if options.quick else [m.name for m in sorted((ROOT / "tests/data/golden").iterdir()) if m.is_dir()]
    report["memory"] = memory.measure_all(options.build, real, 1 if options.quick else 20)
    print("bench: kernels", file=sys.stderr, flush=True)
    report["kernels"] = kernels(options)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(report, indent=1) + "\n")
    print("\n".join([f"{report['date']}, {cpu}, {options.threads} threads; milliseconds a batch, medians. All figures: {output}", "",
                     *model_table(report["models"], report["memory"]), "", *kernel_table(report["kernels"])]))


if __name__ == "__main__":
    main()
