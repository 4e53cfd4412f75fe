#!/usr/bin/env python3
"""tools/gpu_tests.py and tools/gpu_report.py on a stand-in for a binary of GoogleTest, whose tests fail, crash, hang,
and leave the device in an error that stays: each is named with what it is, and the tests behind it run all the same."""
import json
import os
import subprocess
import sys
import tempfile

STAND_IN = '''#!/usr/bin/env python3
import os, sys, time
tests = {"cuda_a-b": ["fails", "good", "crashes", "good_2", "faults", "good_3", "skips"], "cuda_c": ["good", "hangs"]}
if "--gtest_list_tests" in sys.argv:
    for suite in tests:
        print(suite + ".")
        for name in tests[suite]: print("  " + name + "  # GetParam() = 1")
    sys.exit()
wanted = [a.split("=")[1].split(":") for a in sys.argv if a.startswith("--gtest_filter=")][0]
broken = False
for suite in tests:
    for name in tests[suite]:
        full = suite + "." + name
        if full.replace("-", "?") not in wanted: continue
        print("[ RUN      ] " + full, flush=True)
        if name == "crashes": os.abort()
        if name == "hangs": time.sleep(60)
        broken = broken or name == "faults"
        if broken: print("Error: cudaErrorIllegalAddress (an illegal memory access was encountered)")
        if name == "fails": print("element 0 is 1, expected 2")
        what = "[  FAILED  ] " if broken or name == "fails" else "[  SKIPPED ] " if name == "skips" else "[       OK ] "
        print(what + full + (", where GetParam() = 1" if what[3] == "F" else "") + " (0 ms)", flush=True)
'''
EXPECTED = {"cuda_a-b.fails": "failed", "cuda_a-b.good": "passed", "cuda_a-b.crashes": "crashed",
            "cuda_a-b.good_2": "passed", "cuda_a-b.faults": "crashed", "cuda_a-b.good_3": "passed",
            "cuda_a-b.skips": "skipped", "cuda_c.good": "passed", "cuda_c.hangs": "hung"}
root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")


def expect(what, right):
    if not right:
        sys.exit(f"wrong: {what}")


with tempfile.TemporaryDirectory() as folder:
    binary = os.path.join(folder, "stand_in")
    with open(binary, "w") as file:
        file.write(STAND_IN)
    os.chmod(binary, 0o755)
    for parts in ("0", "1", "4"):
        run = subprocess.run([sys.executable, os.path.join(root, "tools/gpu_tests.py"), folder, "graphs", "4", parts,
                              binary + "=cuda_*"], capture_output=True, text=True)
        expect(f"exit status {run.returncode}: {run.stdout}{run.stderr}", run.returncode == 1)
        with open(os.path.join(folder, "graphs.json")) as file:
            found = {name: result["status"] for name, result in json.load(file).items()}
        expect(f"{found} in {parts} parts", found == EXPECTED)
        for said in ("4 passed", "failed: cuda_a-b.fails\n    element 0 is 1, expected 2", "hung: cuda_c.hangs"):
            expect(run.stdout, said in run.stdout)

    for name, text in {"gpu": "NVIDIA H200, 580, 143771 MiB\n", "origin": "commit c\ncuda d\nhere e\n",
                       "graphs.step": "failed (1)\n", "kernels-figures.json": "{cut off"}.items():
        with open(os.path.join(folder, name), "w") as file:
            file.write(text)
    report = subprocess.run([sys.executable, os.path.join(root, "tools/gpu_report.py"), folder, folder],
                            capture_output=True, text=True)
    expect(report.stderr, report.returncode == 0)
    for said in ("# NVIDIA H200", "Commit c, code d", "another one: code e", "- graphs: failed (1)",
                 "| graphs | 4 | 1 | 2 | 1 | 0 | 1 |", "Hung (1):\n\n- graphs: cuda_c.hangs"):
        expect(f"{said!r} is missing in\n{report.stdout}", said in report.stdout)
    for kind in ("md", "json"):
        expect(kind, os.path.exists(os.path.join(folder, "nvidia-h200." + kind)))
print("1 passed, 0 failed")
