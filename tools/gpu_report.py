#!/usr/bin/env python3
"""Joins what tools/gpu_check.sh left in a folder: tools/gpu_report.py RESULTS writes <gpu>.json and <gpu>.md there, with the
commit, the hash of the code and every figure. Both are to be committed in bench/results."""
import json
import os
import re
import sys

folder = sys.argv[1]


def read(name):
    path = os.path.join(folder, name)
    return open(path).read() if os.path.exists(path) else ""


def load(name):
    text = read(name)
    try:
        return json.loads(text) if text else None
    except ValueError:
        return None


gpu = read("gpu").splitlines()[0] if read("gpu") else "unknown"
name = re.sub(r"[^a-z0-9]+", "-", gpu.split(",")[0].lower()).strip("-")
origin = dict(line.split(" ", 1) for line in read("origin").splitlines())
report = {"gpu": gpu, "commit": origin.get("commit"), "cuda_hash": origin.get("cuda"), "steps": read("steps").splitlines(),
          "kernels": load("kernels.json"), "resnet50": load("resnet50.json"), "minilm": load("minilm.json"),
          "pytorch": load("pytorch.json")}
lines = [f"# {gpu}", "", f"Commit {report['commit']}, code {report['cuda_hash']}. Times in milliseconds.", ""]
lines += [f"- {step}" for step in report["steps"]]
if report["kernels"]:
    lines += ["", "| figure | ms | against | ms | ratio | goal |", "|---|---|---|---|---|---|"]
    for row in report["kernels"]["rows"]:
        goal = f"{row['goal']:g}" if row["goal"] else "report"
        lines.append(f"| {row['figure']} | {row['ms']:.4f} | {row['against']} | {row['against_ms']:.4f} | {row['ratio']:.3f} | {goal} |")
for model in ("resnet50", "minilm"):
    if not report[model]:
        continue
    lines += ["", f"## {model}", "", "| batch | plain | calibrate | ratio | simulate | ratio | PyTorch, plain | PyTorch / own |",
              "|---|---|---|---|---|---|---|---|"]
    peers = {row["batch"]: row["ms"] for row in (report["pytorch"] or {}).get(model, [])}
    for row in report[model]["figures"]:
        peer = peers.get(row["batch"])
        lines.append(f"| {row['batch']} | {row['plain_ms']:.3f} | {row['calibrate_ms']:.3f} | {row['calibrate_ratio']:.3f} | "
                     f"{row['simulate_ms']:.3f} | {row['simulate_ratio']:.3f} | "
                     + (f"{peer:.3f} | {peer / row['plain_ms']:.2f} |" if peer else "not measured | |"))
if report["pytorch"] and report["kernels"]:
    own = {row["figure"]: row["ms"] for row in report["kernels"]["rows"]}
    lines += ["", "| fake quantize, 256 MB fp32 | PyTorch | own | PyTorch / own |", "|---|---|---|---|"]
    for key, figure in (("per_tensor", "qdq tensor fp32"), ("per_channel", "qdq channel_rows/64x3136 fp32")):
        peer = report["pytorch"].get("fake_quantize", {}).get(key)
        if peer and figure in own:
            lines.append(f"| {key} | {peer:.4f} | {own[figure]:.4f} | {peer / own[figure]:.2f} |")
with open(os.path.join(folder, name + ".json"), "w") as file:
    json.dump(report, file, indent=1)
with open(os.path.join(folder, name + ".md"), "w") as file:
    file.write("\n".join(lines) + "\n")
print("\n".join(lines))
