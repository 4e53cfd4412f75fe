#!/usr/bin/env python3
"""Joins what tools/gpu_check.sh left in a folder of logs, of one run or of several: tools/gpu_report.py LOGS RESULTS
writes <gpu>.json and <gpu>.md into RESULTS, with the commit, the hash of the code, a verdict on every goal and the
figures behind it, and prints the table. Both files are to be committed in bench/results."""
import json
import os
import re
import sys

STEPS = ["device", "graphs", "kernels", "bench_kernels", "bench_resnet50", "bench_minilm", "pytorch", "conformance",
         "golden", "random", "sweep", "memcheck", "memcheck_operators", "racecheck"]
STATUSES = ["passed", "failed", "crashed", "hung", "cut off", "not run", "skipped"]
MOST_NAMES = 40

# Quantize-dequantize, 256 MB, per channel and per block: figures of bench/cuda/kernels.cu.
SEVERAL_GRIDS = ["channel_rows/64x3136", "channel_rows/512x49", "channel_odd_rows/61x3135", "channel_columns/256",
                 "channel_odd_columns/255", "block/128", "block_odd_rows/128"]
OBSERVED = ["normal", "relu", "constant", "powers_of_four"]
# PyTorch's name, the figure of the same work here, and how many times as fast that is to be.
FAKE_QUANTIZE = [("per_tensor", "qdq tensor fp32", 1.1), ("per_channel", "qdq channel_rows/64x3136 fp32", 1.6)]
BATCHES = [1, 64]
PLAIN_GOALS = {1: 1.5, 64: 1.05}  # times as fast as PyTorch, by batch
SIMULATE_GOAL = 1.15  # of plain inference, likewise
CALIBRATE_GOAL = 1.10
# The variants that goals speak of: inputs lie on the device, as PyTorch's do. Tokens that are new in every batch hinder
# the replay of graphs, so that both ways are judged.
MODELS = {"resnet50": ["inputs on the device"], "minilm": ["the same tokens", "new tokens"]}


class Logs:
    """Files of the folder; what is not there is empty."""

    def __init__(self, folder):
        self.folder = folder

    def text(self, name):
        path = os.path.join(self.folder, name)
        if not os.path.exists(path):
            return ""
        with open(path) as file:
            return file.read()

    def load(self, name):
        try:
            return json.loads(self.text(name))
        except ValueError:  # not there, or cut off
            return None


def verdict(what, value, least=None, most=None):
    if value is None:
        outcome = "not measured"
    else:
        outcome = "met" if (value >= least if most is None else value <= most) else "missed"
    goal = f"at least {least:g}" if most is None else f"at most {most:g}"
    return {"goal": what, "bound": goal, "measured": value, "verdict": outcome}


def ratio(one, other):
    return one / other if one and other else None


def goals_of_kernels(rows):
    figures = {row["figure"]: row for row in rows}

    def of(figure, key="ratio"):
        return figures.get(figure, {}).get(key)

    for type_name in ("fp32", "bf16"):
        figure = f"qdq tensor {type_name}"
        yield verdict(f"{figure}: of a device copy", of(figure), least=0.95)
        for case in SEVERAL_GRIDS:
            figure = f"qdq {case} {type_name}"
            yield verdict(f"{figure}: of a device copy", of(figure), least=0.88)
    for values in OBSERVED:
        figure = f"observe fp32 {values}"
        yield verdict(f"{figure}: of a read-only reduction", of(figure), least=0.85)
    figure = "observe fp32 normal beside CUB"
    yield verdict(f"{figure}: times as fast as its histogram of 2,048 bins", of(figure), least=4)
    for symmetry, most in (("symmetric", 10), ("asymmetric", 30)):
        figure = f"search of 10,000 distinct histograms, {symmetry}, transfers included"
        yield verdict(f"{figure}: ms", of(figure, "ms"), most=most)


def goals_of_model(name, rows, peers):
    for variant in MODELS[name]:
        for batch in BATCHES:
            row = next((row for row in rows if row["variant"] == variant and row["batch"] == batch), {})
            plain, calibrate, simulate = (row.get(key, {}).get("median_ms") for key in
                                          ("plain", "calibrate", "simulate"))
            what = f"{name}, {variant}, batch {batch}"
            yield verdict(f"{what}: plain, times as fast as PyTorch", ratio(peers.get(batch), plain),
                          least=PLAIN_GOALS[batch])
            if name == "resnet50":
                yield verdict(f"{what}: calibrate with sqnr / plain", ratio(calibrate, plain), most=CALIBRATE_GOAL)
            yield verdict(f"{what}: simulate / plain", ratio(simulate, plain), most=SIMULATE_GOAL)


def goals_of(report):
    kernels = (report["kernels"] or {}).get("rows", [])
    pytorch = report["pytorch"] or {}
    goals = list(goals_of_kernels(kernels))
    own = {row["figure"]: row["ms"] for row in kernels}
    for key, figure, least in FAKE_QUANTIZE:
        peer = pytorch.get("fake_quantize", {}).get(key)
        goals.append(verdict(f"{figure}: times as fast as PyTorch's fake_quantize_{key}_affine",
                             ratio(peer, own.get(figure)), least=least))
    for name in MODELS:
        goals += goals_of_model(name, (report[name] or {}).get("rows", []), peers_of(pytorch, name))
    return goals


def peers_of(pytorch, model):
    return {row["batch"]: row["ms"] for row in pytorch.get(model, [])}


def lines_of_goals(goals):
    counts = ", ".join(f"{sum(goal['verdict'] == outcome for goal in goals)} {outcome}"
                       for outcome in ("met", "missed", "not measured"))
    lines = ["", "## Goals", "", counts, "", "| goal | bound | measured | verdict |", "|---|---|---|---|"]
    for goal in goals:
        measured = "" if goal["measured"] is None else f"{goal['measured']:.3f}"
        lines.append(f"| {goal['goal']} | {goal['bound']} | {measured} | {goal['verdict']} |")
    return lines


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


def lines_of_failures(figures):
    """Sections of a benchmark that threw; the others went on."""
    return [line for failure in figures.get("failed", [])
            for line in ("", f"Not measured, {failure['section']}: {failure['error']}")]


def lines_of_kernels(kernels):
    lines = ["", "## Kernels", "", "| figure | ms | against | ms | ratio |", "|---|---|---|---|---|"]
    for row in kernels["rows"]:
        other = (f"{row['against']} | {row['against_ms']:.4f} | {row['ratio']:.3f}" if "ratio" in row else "| |")
        lines.append(f"| {row['figure']} | {row['ms']:.4f} | {other} |")
    return lines + lines_of_failures(kernels)


def lines_of_model(name, model, peers):
    lines = ["", f"## {name}", "", "| variant | batch | plain | calibrate | / plain | simulate | / plain | "
             "PyTorch, plain | PyTorch / own | first | graphs |", "|---" * 11 + "|"]
    for row in model["rows"]:
        plain, calibrate, simulate = (row[key]["median_ms"] for key in ("plain", "calibrate", "simulate"))
        peer = peers.get(row["batch"]) if row["variant"] != "inputs on the host" else None
        graphs = ", ".join(f"{row['graphs'][what]} {what}" for what in ("recorded", "launched", "refused"))
        lines.append(f"| {row['variant']} | {row['batch']} | {plain:.3f} | {calibrate:.3f} | {calibrate / plain:.3f} | "
                     f"{simulate:.3f} | {simulate / plain:.3f} | "
                     + (f"{peer:.3f} | {peer / plain:.2f}" if peer else "|") + f" | {row['first_ms']:.1f} | {graphs} |")
    whys = sorted({row["graphs"]["why_refused"] for row in model["rows"]} - {""})
    return lines + [f"\nRefused: {why}" for why in whys] + lines_of_failures(model)


def make_report(logs):
    origin = dict(line.split(" ", 1) for line in logs.text("origin").splitlines())
    report = {"gpu": (logs.text("gpu").splitlines() or ["unknown"])[0], "commit": origin.get("commit"),
              "cuda_hash": origin.get("cuda"),
              "steps": {step: logs.text(step + ".step").strip() for step in STEPS if logs.text(step + ".step")}}
    report.update({name: logs.load(name + "-figures.json") for name in ("kernels", "resnet50", "minilm", "pytorch")})
    report["goals"] = goals_of(report)
    return report, origin.get("here")


def lines_of(report, here, tests):
    lines = [f"# {report['gpu']}", "", f"Commit {report['commit']}, code {report['cuda_hash']}. Times in milliseconds: "
             "of kernels the fastest of the repetitions, of models the median of interleaved passes."]
    if here != report["cuda_hash"]:
        lines += ["", f"The tree beside the bundle is another one: code {here}."]
    lines += [""] + [f"- {step}: {outcome}" for step, outcome in report["steps"].items()]
    lines += lines_of_goals(report["goals"])
    if tests:
        lines += ["", "## Tests"] + lines_of_tests(tests)
    if report["kernels"]:
        lines += lines_of_kernels(report["kernels"])
    for model in MODELS:
        if report[model]:
            lines += lines_of_model(model, report[model], peers_of(report["pytorch"] or {}, model))
    return lines


def main():
    logs, results = Logs(sys.argv[1]), sys.argv[2]
    report, here = make_report(logs)
    tests = {step: found for step in STEPS if (found := logs.load(step + ".json"))}
    report["tests"] = {step: {name: result["status"] for name, result in found.items() if result["status"] != "passed"}
                       for step, found in tests.items()}
    text = "\n".join(lines_of(report, here, tests)) + "\n"
    name = os.path.join(results, re.sub(r"[^a-z0-9]+", "-", report["gpu"].split(",")[0].lower()).strip("-"))
    with open(name + ".json", "w") as file:
        json.dump(report, file, indent=1)
    with open(name + ".md", "w") as file:
        file.write(text)
    print(text, end="")


if __name__ == "__main__":
    main()
