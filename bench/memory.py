"""Peak memory of `tare calibrate` beside `tare run`, and of calibrations of 16 and of 2,000 batches: each a process of its own.

    bench/memory.py [--build build] [--models orientation,layout] [--json]

The batches of a model's data repeat as often as it takes; 2,000 become fewer where they would take longer than --limit.
"""
import argparse
import ast
import json
import pathlib
import subprocess
import tempfile
import zipfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
FEW, MANY = 16, 2000


def first_dimension(array):
    """Of the bytes of a .npy file."""
    header = array[10: 10 + int.from_bytes(array[8:10], "little")]
    return ast.literal_eval(header.decode("latin1"))["shape"][0]


def unpack(archive, folder):
    """One .npz a batch, keys the names of the inputs; returns the files and the samples a batch."""
    batches = {}
    with zipfile.ZipFile(archive) as source:
        for entry in source.namelist():
            batch, name = entry.split("/", 1)
            batches.setdefault(batch, {})[name] = source.read(entry)
    files = []
    for batch in sorted(batches):
        files.append(folder / f"{batch}.npz")
        with zipfile.ZipFile(files[-1], "w") as target:
            for name, array in batches[batch].items():
                target.writestr(name, array)
    return files, max(first_dimension(array) for array in batches[min(batches)].values())


def repeat(files, count, folder):
    folder.mkdir()
    for i in range(count):
        (folder / f"{i:05}.npz").symlink_to(files[i % len(files)])
    return folder


def measure(build, model, limit):
    """Peak MiB of plain inference and calibration of 16 batches, and of calibrating many."""
    with tempfile.TemporaryDirectory() as temporary:
        work = pathlib.Path(temporary)
        files, rows = unpack(model["data"], work)

        def tare(command, count, *more):
            data = work / f"{command}-{count}"
            repeat(files, count, data)
            line = [str(build / "tare"), command, model["model"], "--data", str(data), "--samples", str(count * rows),
                    "--batch-size", str(rows), "--json", *more]
            report = json.loads(subprocess.run(line, check=True, capture_output=True, text=True).stdout)
            return report["peak_memory_bytes"] / 2**20, report["seconds"]

        plain, _ = tare("run", FEW)
        calibrated, seconds = tare("calibrate", FEW, "--output", str(work / "few"))
        many = max(FEW * 2, min(MANY, int(FEW * limit / seconds)))
        most, _ = tare("calibrate", many, "--output", str(work / "many"))
    return {"run_mib": plain, "calibrate_mib": calibrated, "ratio": calibrated / plain, "many_batches": many,
            "many_mib": most, "growth": most / calibrated}


def table(results):
    lines = [f"| peak MiB | run, {FEW} batches | calibrate, {FEW} | calibrate / run | calibrate, many | many / {FEW} |", "|---|---|---|---|---|---|"]
    for name, r in results.items():
        lines.append(f"| {name} | {r['run_mib']:.0f} | {r['calibrate_mib']:.0f} | {r['ratio']:.2f} | "
                     f"{r['many_mib']:.0f} ({r['many_batches']}) | {r['growth']:.2f} |")
    return lines


def measure_all(build, names, limit):
    listed = subprocess.run([str(build / "bench_models"), "--list"], check=True, capture_output=True, text=True).stdout
    return {m["name"]: measure(build, m, limit) for m in json.loads(listed) if not names or m["name"] in names}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build")
    parser.add_argument("--models", type=lambda text: text.split(","), help="names with commas; default: all")
    parser.add_argument("--limit", type=float, default=20, help="seconds that a calibration should take at most")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results = measure_all(options.build.resolve(), options.models, options.limit)
    print(json.dumps(results, indent=1) if options.json else "\n".join(table(results)))


if __name__ == "__main__":
    main()
