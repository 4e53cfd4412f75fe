"""tare beside ONNX Runtime and aimet-onnx: the same models, data and number of threads, tools by turns.

    make bench-peers            # installs the peers (tools/setup_peers.sh), writes bench/results/cpu-peers.{json,md,svg}
    bench/peers.py --python PEERS/bin/python --models resnet50,layout --seconds 2 --output /tmp/peers

Every tool is a process that waits for its turn (bench/worker.cpp, bench/peer_worker.py). A row of the comparison lets its
tools run for a second or once each, again and again, until --seconds have passed; the figure is the median.
Calibrations take fewer batches when all of them would take a tool longer than --limit. A tool that fails, or takes far longer than --limit all the same, is left out of
that row, and a remark says why. An interrupted run goes on where it was when started again in the same way.
"""
import argparse
import datetime
import json
import os
import pathlib
import platform
import select
import statistics
import subprocess
import sys
import time

import plot

ROOT = pathlib.Path(__file__).resolve().parent.parent


class Failed(Exception):
    pass


class Tool:
    """A worker, started when it is first asked."""

    def __init__(self, command, log):
        self.command, self.log, self.process = command, log, None

    def ask(self, line, limit):
        if self.process is None:
            self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True)
            if self.answer(limit) != "ready":
                raise Failed("did not start")
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise Failed("ended before")
        return float(self.answer(limit))

    def answer(self, limit):
        if not select.select([self.process.stdout], [], [], limit)[0]:
            self.stop()
            raise Failed(f"more than {limit:.0f} s")
        text = self.process.stdout.readline().strip()
        if not text or text.startswith("error"):
            status = self.process.wait()
            self.process = None
            raise Failed(text[6:] or f"ended with status {status}")
        return text

    def stop(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


LEAST = 8  # batches: what a calibration does once must not be all of the figure
TURN = 1.0  # seconds


def turn(tool, line, limit):
    """The median of what fits into a turn. The first time does not count beside others: cores that slept between two tools
    take a tenth of a second to be as fast as before, which only short runs would feel."""
    times, end = [], time.monotonic() + TURN
    while not times or time.monotonic() < end:
        times.append(tool.ask(line, limit))
    return statistics.median(times[1:] or times)


def take_turns(entries, seconds, limit, warm=False):
    """Milliseconds of every repetition by name; entries: {name: (tool, line)}. Unless the tools are warm, one round first
    that does not count."""
    times, failures = {name: [] for name in entries}, {}
    start = time.monotonic() if warm else None
    while start is None or time.monotonic() - start < seconds:
        for name, (tool, line) in entries.items():
            if name in failures:
                continue
            try:
                time.sleep(0.1)  # the threads of the tool before spin for a while and would take cores away
                milliseconds = turn(tool, line, 2 * limit if start is not None else 4 * limit)
            except Failed as failure:
                failures[name] = str(failure)
                continue
            if start is not None:
                times[name].append(milliseconds)
        if len(failures) == len(entries):
            break
        start = start or time.monotonic()
    return times, failures


def calibrations(entries, wanted, options, shorter=None):
    """A row of calibrations on `wanted` batches, or as many as the slowest tool manages within the limit: every tool first
    shows on two batches how fast it is, or has shown it in a `shorter` row. `entries`: {name: (tool, scheme)}."""
    slowest, failures = 0, {}
    for name, (tool, scheme) in entries.items():
        if shorter and (known := milliseconds(shorter, name)):
            slowest = max(slowest, known)
            continue
        try:
            both = tool.ask(f"calibrate {scheme} 2", 4 * options.limit)  # prepares the model, too
            if both < 1000:  # the first time is not as fast as the next ones
                both = tool.ask(f"calibrate {scheme} 2", 4 * options.limit)  # prepares the model, too
            slowest = max(slowest, both / 2)
        except Failed as failure:
            failures[name] = str(failure)
    count = max(min(LEAST, wanted), min(wanted, int(options.limit * 800 / slowest))) if slowest else wanted
    if count < wanted and wanted != options.batches[0] and wanted in options.batches:
        return {"batches": 0, "times": {}, "failed": {}}  # the same figure as the first row's
    left = {name: (tool, f"calibrate {scheme} {count}") for name, (tool, scheme) in entries.items() if name not in failures}
    times, more = take_turns(left, options.seconds, max(options.limit, count * slowest / 1e3), warm=True) if left else ({}, {})
    return {"batches": count, "times": times, "failed": {**failures, **more}}


def measure(model, options, log, done, keep):
    """All rows of one model that are not done yet; keep() after each."""
    python = [options.python, str(ROOT / "bench/peer_worker.py")]
    files = [model["model"], model["data"], "--threads", str(options.threads)]
    own = Tool([str(options.build / "bench_worker"), *files], log)
    ort, aimet, percentile = (Tool([*python, name, *files], log) for name in ("onnxruntime", "aimet", "percentile"))

    def row(name, body):
        if name not in done:
            print(f"  {name}", file=sys.stderr, flush=True)
            done[name] = body()
            keep()

    def turns(entries):
        times, failures = take_turns(entries, options.seconds, options.limit)
        return {"times": times, "failed": failures}

    def hoarded():
        """As many batches as ONNX Runtime can keep the activations of."""
        try:
            size = percentile.ask("bytes", 4 * options.limit)
        except Failed as failure:
            return {"batches": 0, "times": {}, "failed": {"onnxruntime": str(failure)}}
        batches = max(1, min(64, int(options.memory_gib * 2**30 / (1.4 * size))))
        result = calibrations({"tare": (own, "percentile"), "onnxruntime": (percentile, "percentile")}, batches, options)
        return {**result, "bytes_a_batch": size}

    try:
        row("plain", lambda: turns({"tare": (own, "plain"), "onnxruntime": (ort, "plain")}))
        ort.stop()
        rows = [("tf_enhanced", {"tare sqnr": (own, "sqnr"), "aimet": (aimet, "tf_enhanced")},
                 {"tare tf_enhanced": (own, "tf_enhanced")}),
                ("min_max", {"tare": (own, "min_max"), "aimet": (aimet, "min_max")}, {})]
        for name, entries, only_first in rows:
            first = f"{name} {options.batches[0]}"
            row(first, lambda: calibrations({**entries, **only_first}, options.batches[0], options))
            for count in options.batches[1:]:
                row(f"{name} {count}", lambda: calibrations(entries, count, options, done[first]))
        row("simulate", lambda: turns({"tare": (own, "simulate"), "aimet": (aimet, "simulate")}))
        aimet.stop()
        row("percentile", hoarded)  # last: a machine whose memory was all taken is slower for minutes
    finally:
        for tool in (own, ort, aimet, percentile):
            tool.stop()


def machine(options):
    cpu = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    code = "import importlib.metadata as m, json; print(json.dumps({n: m.version(n) for n in ('aimet-onnx', 'onnxruntime', 'torch')}))"
    versions = json.loads(subprocess.run([options.python, "-c", code], check=True, capture_output=True, text=True).stdout)
    commit = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    release = platform.freedesktop_os_release() if hasattr(platform, "freedesktop_os_release") else {}
    return {"cpu": cpu, "cores": len(os.sched_getaffinity(0)), "system": release.get("PRETTY_NAME", platform.system()),
            "threads": options.threads, "versions": {"tare": commit or "unknown", **versions}}


def milliseconds(row, name):
    """A batch: the median. None where there is none."""
    times = (row or {}).get("times", {}).get(name)
    return statistics.median(times) / row.get("batches", 1) if times else None


# Title, row, own figure, peer's figure.
COLUMNS = [("plain: ONNX Runtime", "plain", "tare", "onnxruntime"),
           ("simulate: aimet", "simulate", "tare", "aimet"),
           ("`min_max`: aimet", "min_max {n}", "tare", "aimet"),
           ("`sqnr`: aimet `tf_enhanced`", "tf_enhanced {n}", "tare sqnr", "aimet"),
           ("`tf_enhanced`: aimet", "tf_enhanced {n}", "tare tf_enhanced", "aimet"),
           ("`percentile`: ONNX Runtime", "percentile", "tare", "onnxruntime")]


def table(report, options):
    """Markdown, ratios for the plot, and lines about what could not be measured."""
    figures, remarks = {}, []
    lines = ["| model | " + " | ".join(title for title, *_ in COLUMNS) + " |", "|---|" + "---|" * len(COLUMNS)]
    for name, rows in report["models"].items():
        cells = []
        for title, row, own, peer in COLUMNS:
            row = row.format(n=options.batches[0])
            a, b = milliseconds(rows.get(row), own), milliseconds(rows.get(row), peer)
            if a and b:
                figures.setdefault(title, {})[name] = b / a
            cell = " / ".join("–" if value is None else f"{value:.3g}" for value in (a, b))
            cells.append(cell + (f" (**{b / a:.3g}**)" if a and b else ""))
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
        for row, result in rows.items():
            wanted = int(row.split()[-1]) if row.split()[-1].isdigit() else 64 if row == "percentile" else None
            if wanted and result["batches"] != wanted and result["times"]:
                remarks.append(f"{name}, {row.split()[0]}: {result['batches']} batches instead of {wanted}")
            remarks += [f"{name}, {row}, {tool}: {text}" for tool, text in result.get("failed", {}).items()]
    lines.append("| geometric mean | " + " | ".join(
        f"**{statistics.geometric_mean(figures[title].values()):.3g}**" if title in figures else "–" for title, *_ in COLUMNS) + " |")
    for count in options.batches[1:]:
        for scheme, own in (("min_max", "tare"), ("tf_enhanced", "tare sqnr")):
            more = []
            for name, rows in report["models"].items():
                row = rows.get(f"{scheme} {count}", {})
                a, b = milliseconds(row, own), milliseconds(row, "aimet")
                if row.get("batches") == count and a and b:
                    more.append((b / a, f"{name} {a:.3g} / {b:.3g} (**{b / a:.3g}**)"))
            mean = f"; geometric mean **{statistics.geometric_mean(ratio for ratio, _ in more):.3g}**" if more else ""
            lines += ["", f"On {count} batches, `{scheme}`: " + ("; ".join(text for _, text in more) or "none within the limit") + mean + "."]
    return lines, figures, remarks


def write(report, options):
    lines, figures, remarks = table(report, options)
    about, versions = report["machine"], report["machine"]["versions"]
    text = [f"# tare ({versions['tare']}) beside ONNX Runtime {versions['onnxruntime']} and aimet-onnx {versions['aimet-onnx']}", "",
            f"{report['date']}; {about['cpu']}, {about['cores']} cores, {about['system']}; {about['threads']} threads each. "
            "Medians of repetitions by turns, milliseconds a batch: tare / peer (**how many times faster tare is**). "
            f"Calibrations are whole ones of {options.batches[0]} batches (ONNX Runtime's percentile: 64, or what fits into "
            f"{options.memory_gib:g} GiB), divided by the batches; preparing a model does not count. Made by `make bench-peers`.", "",
            *lines, "", "![ratios](cpu-peers.svg)" if options.output.name == "cpu-peers" else f"![ratios]({options.output.name}.svg)"]
    if remarks:
        text += ["", "Remarks:", "", *[f"- {remark}" for remark in remarks]]
    options.output.with_suffix(".md").write_text("\n".join(text) + "\n")
    options.output.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n")
    options.output.with_suffix(".svg").write_text(plot.bars("How many times faster tare is", figures))
    print("\n".join(text))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable, help="with the peers installed")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build")
    parser.add_argument("--output", type=pathlib.Path, default=ROOT / "bench/results/cpu-peers", help="without ending")
    parser.add_argument("--models", help="names with commas; default: all")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batches", default="32,512", help="of the calibrations; the first makes the table")
    parser.add_argument("--seconds", type=float, default=3, help="of repetitions a row, at least one of them")
    parser.add_argument("--limit", type=float, default=15, help="seconds that one repetition should take at most")
    parser.add_argument("--memory-gib", type=float, default=16, help="for the activations that ONNX Runtime keeps")
    options = parser.parse_args()
    options.build, options.output = options.build.resolve(), options.output.resolve()
    options.batches = [int(count) for count in options.batches.split(",")]
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])  # whatever a tool thinks it may use

    listed = subprocess.run([str(options.build / "bench_models"), "--list"], check=True, capture_output=True, text=True).stdout
    models = [m for m in json.loads(listed) if not options.models or m["name"] in options.models.split(",")]
    about = machine(options)
    settings = {key: str(value) for key, value in vars(options).items() if key != "models"}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    part = options.output.with_suffix(".part")
    report = json.loads(part.read_text()) if part.exists() else {}
    if report.get("machine") != about or report.get("settings") != settings:
        report = {"date": datetime.date.today().isoformat(), "machine": about, "settings": settings, "models": {}}
    with open(options.output.with_suffix(".log"), "a") as log:
        for model in models:
            print(model["name"], file=sys.stderr, flush=True)
            measure(model, options, log, report["models"].setdefault(model["name"], {}), lambda: part.write_text(json.dumps(report)))
    del report["settings"]
    write(report, options)
    part.unlink(missing_ok=True)
    options.output.with_suffix(".log").unlink(missing_ok=True)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("peers: interrupted; started again in the same way it goes on from here")
