#!/usr/bin/env python3
"""Joins what tools/gpu_check.sh left in a folder of logs, of one run or of several: tools/gpu_report.py LOGS RESULTS
writes <gpu>.json and <gpu>.md into RESULTS, with the commit, the hash of the code and every figure beside its goal, and
prints the table. Both files are to be committed in bench/results."""
import json
import os
import re
import sys

folder, results = sys.argv[1], sys.argv[2]
STEPS = ["device", "graphs", "kernels", "bench_kernels", "bench_resnet50", "bench_minilm", "conformance", "golden",
         "pytorch", "sweep", "memcheck", "memcheck_operators", "racecheck"]
STATUSES = ["passed", "failed", "crashed", "hung", "not run", "skipped"]
CALIBRATE_GOAL = 1.10  # of plain inference, where the inputs lie on the device
MOST_NAMES = 40


def read(name):
    path = os.path.join(folder, name)
    return open(path).read() if os.path.exists(path) else ""


def load(name):
    try:
        return json.loads(read(name))
    except ValueError:  # not there, or cut off
        return None


def lines_of_tests(tests):
    """How many, and the names of those that did not pass."""
    lines = ["", "| tests | " + " | ".join(STATUSES) + " |", "|---" * (len(STATUSES) + 1) + "|"]
    for step, found in tests.items():
        counts = [sum(status == result["status"] for result in found.values()) for status in STATUSES]
        lines.append(f"| {step} | " + " | ".join(map(str, counts)) + " |")
    for status in STATUSES[1:-1]:
        names = [f"{step}: {name}" for step, found in tests.items() for name, result in found.items()
                 if result["status"] == status]
        if names:
            lines += ["", f"{status.capitalize()} ({len(names)}):", ""] + [f"- {name}" for name in names[:MOST_NAMES]]
        if len(names) > MOST_NAMES:
            lines.append(f"- and {len(names) - MOST_NAMES} more (logs.tar.gz)")
    return lines


def lines_of_kernels(kernels):
    lines = ["", "| figure | ms | against | ms | ratio | goal |", "|---|---|---|---|---|---|"]
    for row in kernels["rows"]:
        goal = f"at least {row['goal']:g}" if row["goal"] else "report"
        lines.append(f"| {row['figure']} | {row['ms']:.4f} | {row['against']} | {row['against_ms']:.4f} | "
                     f"{row['ratio']:.3f} | {goal} |")
    return lines


def lines_of_model(name, model, peers):
    lines = ["", f"## {name}", "", "| variant | batch | plain | calibrate | / plain | goal | simulate | / plain | "
             "goal | PyTorch, plain | PyTorch / own | first | graphs |", "|---" * 13 + "|"]
    for row in model["rows"]:
        plain, calibrate, simulate = (row[key]["median_ms"] for key in ("plain", "calibrate", "simulate"))
        goal = f"at most {CALIBRATE_GOAL:.2f}" if row["variant"] == "inputs on the device" else "report"
        peer = peers.get(row["batch"]) if row["variant"] != "inputs on the host" else None
        graphs = ", ".join(f"{row['graphs'][what]} {what}" for what in ("recorded", "launched", "refused"))
        lines.append(f"| {row['variant']} | {row['batch']} | {plain:.3f} | {calibrate:.3f} | {calibrate / plain:.3f} | "
                     f"{goal} | {simulate:.3f} | {simulate / plain:.3f} | report | "
                     + (f"{peer:.3f} | {peer / plain:.2f}" if peer else "|") + f" | {row['first_ms']:.1f} | {graphs} |")
    whys = sorted({row["graphs"]["why_refused"] for row in model["rows"]} - {""})
    return lines + [f"\nRefused: {why}" for why in whys]


def lines_of_fake_quantize(pytorch, kernels):
    own = {row["figure"]: row["ms"] for row in kernels["rows"]}
    lines = ["", "| fake quantize, 256 MB fp32 | PyTorch | own | PyTorch / own | goal |", "|---|---|---|---|---|"]
    for key, figure in (("per_tensor", "qdq tensor fp32"), ("per_channel", "qdq channel_rows/64x3136 fp32")):
        peer = pytorch.get("fake_quantize", {}).get(key)
        if peer and figure in own:
            lines.append(f"| {key} | {peer:.4f} | {own[figure]:.4f} | {peer / own[figure]:.2f} | report |")
    return lines


gpu = (read("gpu").splitlines() or ["unknown"])[0]
origin = dict(line.split(" ", 1) for line in read("origin").splitlines())
steps = {step: read(step + ".step").strip() for step in STEPS if read(step + ".step")}
tests = {step: load(step + ".json") for step in STEPS if load(step + ".json")}
report = {"gpu": gpu, "commit": origin.get("commit"), "cuda_hash": origin.get("cuda"), "steps": steps,
          "tests": {step: {name: result["status"] for name, result in found.items() if result["status"] != "passed"}
                    for step, found in tests.items()}}
report.update({name: load(name + "-figures.json") for name in ("kernels", "resnet50", "minilm", "pytorch")})
pytorch = report["pytorch"] or {}

lines = [f"# {gpu}", "", f"Commit {report['commit']}, code {report['cuda_hash']}. Times in milliseconds: of kernels "
         "the fastest of the repetitions, of models the median of interleaved passes."]
if origin.get("here") != origin.get("cuda"):
    lines += ["", f"The tree beside the bundle is another one: code {origin.get('here')}."]
lines += [""] + [f"- {step}: {outcome}" for step, outcome in steps.items()]
if tests:
    lines += lines_of_tests(tests)
if report["kernels"]:
    lines += lines_of_kernels(report["kernels"])
for model in ("resnet50", "minilm"):
    if report[model]:
        lines += lines_of_model(model, report[model], {row["batch"]: row["ms"] for row in pytorch.get(model, [])})
if pytorch and report["kernels"]:
    lines += lines_of_fake_quantize(pytorch, report["kernels"])
name = os.path.join(results, re.sub(r"[^a-z0-9]+", "-", gpu.split(",")[0].lower()).strip("-"))
with open(name + ".json", "w") as file:
    json.dump(report, file, indent=1)
with open(name + ".md", "w") as file:
    file.write("\n".join(lines) + "\n")
print("\n".join(lines))
