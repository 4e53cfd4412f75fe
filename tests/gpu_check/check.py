#!/usr/bin/env python3
"""What runs and judges the tests on a machine with a GPU, where there is none: tools/gpu_tests.py, gpu_report.py and
gpu_check.sh on a stand-in for a binary of GoogleTest, whose tests fail, crash, hang, and leave the device in an error
that stays, and on one for a benchmark, of which a section threw; tools/cuda_hash.sh and setup_cuda.sh in copies."""
import concurrent.futures
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time

STAND_IN = '''#!/usr/bin/env python3
import os, sys, time
tests = {"cuda_a-b": ["fails", "good", "crashes", "good_2", "faults", "good_3", "skips", "shares"],
         "cuda_c": ["good", "hangs"], "CudaDevice": ["Answers"]}
wanted = [a.split("=")[1].split(":") for a in sys.argv if a.startswith("--gtest_filter=")][0]
if "--gtest_list_tests" in sys.argv:
    for suite in tests:
        if suite[:4] != wanted[0][:4]: continue
        print(suite + ".")
        for name in tests[suite]: print("  " + name + "  # GetParam() = 1")
    sys.exit()
shares = str(len(os.sched_getaffinity(0))) in os.environ.get("SHARES", "").split()
broken = False
for suite in tests:
    for name in tests[suite]:
        full = suite + "." + name
        if full.replace("-", "?") not in wanted and suite + ".*" not in wanted: continue
        print("[ RUN      ] " + full, flush=True)
        if name == "crashes": os.abort()
        if name == "hangs": time.sleep(60)
        broken = broken or name == "faults"
        if broken: print("Error: cudaErrorIllegalAddress (an illegal memory access was encountered)")
        if name == "fails": print("element 0 is 1, expected 2")
        bad = broken or name == "fails"
        if name == "shares": bad = not shares or os.environ.get("OMP_WAIT_POLICY") != "passive"
        what = "[  FAILED  ] " if bad else "[  SKIPPED ] " if name == "skips" else "[       OK ] "
        print(what + full + (", where GetParam() = 1" if what[3] == "F" else "") + " (0 ms)", flush=True)
'''
BENCHMARK = '''#!/bin/sh
echo '{"rows": [{"figure": "qdq tensor fp32", "ms": 0.2, "against": "copy", "against_ms": 0.1, "ratio": 0.5}],
  "failed": [{"section": "search", "error": "out of memory"}]}' > "$1"
exit 1
'''
EXPECTED = {"cuda_a-b.fails": "failed", "cuda_a-b.good": "passed", "cuda_a-b.crashes": "crashed",
            "cuda_a-b.good_2": "passed", "cuda_a-b.faults": "crashed", "cuda_a-b.good_3": "passed",
            "cuda_a-b.skips": "skipped", "cuda_a-b.shares": "passed", "cuda_c.good": "passed", "cuda_c.hangs": "hung"}
ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
SILENCE = "15"  # longer than Python takes to start beside other work


def expect(what, right):
    if not right:
        sys.exit(f"wrong: {what}")


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)
    if text.startswith("#!"):
        os.chmod(path, 0o755)
    return path


def load(folder, name):
    with open(os.path.join(folder, name)) as file:
        return json.load(file)


def tests_command(folder, seconds, parts, silence):
    binary = write(os.path.join(folder, "stand_in"), STAND_IN)
    beside = {"0": 2, "1": 1, "4": 4}[parts]  # 0: a part a suite
    cores = len(os.sched_getaffinity(0))
    environment = dict(os.environ, GPU_TESTS_SILENCE=silence,
                       SHARES=f"{max(1, cores // beside)} {-(-cores // beside)}")
    return {"args": [sys.executable, os.path.join(ROOT, "tools/gpu_tests.py"), folder, "graphs", seconds, parts,
                     binary + "=cuda_*"], "env": environment, "text": True}


def statuses(folder):
    return {name: result["status"] for name, result in load(folder, "graphs.json").items()}


def check_tests(folder, parts="0"):
    """Each is named with what it is, and the tests behind it run all the same."""
    run = subprocess.run(**tests_command(folder, "100", parts, SILENCE), capture_output=True)
    expect(f"exit status {run.returncode}: {run.stdout}{run.stderr}", run.returncode == 1)
    expect(f"{statuses(folder)} in {parts} parts", statuses(folder) == EXPECTED)
    for said in ("5 passed", "failed: cuda_a-b.fails\n    element 0 is 1, expected 2", "hung: cuda_c.hangs"):
        expect(run.stdout, said in run.stdout)


def check_one_part(folder):
    check_tests(folder, "1")


def check_parts(folder):
    check_tests(folder, "4")


def check_time_limit(folder):
    """A test that runs when the time is up need not hang."""
    run = subprocess.run(**tests_command(folder, "25", "1", "40"), capture_output=True)
    expect(f"{run.stdout}{run.stderr}", run.returncode == 1 and "cut off: cuda_c.hangs" in run.stdout)
    expect(statuses(folder), statuses(folder) == {**EXPECTED, "cuda_c.hangs": "cut off"})


def check_killed(folder):
    """What is known is in the file, whoever ends the run."""
    process = subprocess.Popen(**tests_command(folder, "100", "1", "100"), stdout=subprocess.DEVNULL,
                               start_new_session=True)
    until = time.monotonic() + 60
    log = os.path.join(folder, "graphs.0.log")
    try:
        while time.monotonic() < until and (not os.path.exists(log) or "cuda_c.hangs" not in open(log).read()):
            time.sleep(0.1)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    found = statuses(folder)
    expect(found, found["cuda_a-b.crashes"] == "crashed" and found["cuda_c.hangs"] == "not run")


def check_report(folder):
    """A verdict on every goal, measured or not, in both files."""
    row = {"against": "copy time / time", "against_ms": 0.1}
    kernels = [dict(row, figure="qdq tensor fp32", ms=0.1, ratio=0.96), dict(row, figure="qdq tensor bf16", ms=0.1,
                                                                            ratio=0.9),
               {"figure": "search of 10,000 distinct histograms, symmetric, transfers included", "ms": 12}]
    model = {"variant": "inputs on the device", "batch": 1, "first_ms": 9, "plain": {"median_ms": 2.0}, "calibrate": {
        "median_ms": 2.1}, "simulate": {"median_ms": 2.4}, "graphs": {"recorded": 1, "launched": 2, "refused": 0,
                                                                      "why_refused": ""}}
    for name, text in {"gpu": "NVIDIA H200, 580, 143771 MiB\n", "origin": "commit c\ncuda d\nhere e\n",
                       "graphs.step": "failed (1)\n", "minilm-figures.json": "{cut off",
                       "kernels-figures.json": json.dumps({"rows": kernels, "failed": [
                           {"section": "observe fp32 relu", "error": "an illegal memory access"}]}),
                       "resnet50-figures.json": json.dumps({"rows": [model], "failed": []}),
                       "pytorch-figures.json": json.dumps({"fake_quantize": {"per_tensor": 0.3, "per_channel": 0.3},
                                                           "resnet50": [{"batch": 1, "ms": 4.0}]})}.items():
        write(os.path.join(folder, name), text)
    report = subprocess.run([sys.executable, os.path.join(ROOT, "tools/gpu_report.py"), folder, folder],
                            capture_output=True, text=True)
    expect(report.stderr, report.returncode == 0)
    with open(os.path.join(folder, "nvidia-h200.md")) as file:
        expect("the table differs from what was printed", file.read() == report.stdout)
    for said in ("# NVIDIA H200", "Commit c, code d", "another one: code e", "- graphs: failed (1)",
                 "| graphs | 5 | 1 | 2 | 1 | 0 | 0 | 1 |", "Hung (1):\n\n- graphs: cuda_c.hangs",
                 "Not measured, observe fp32 relu: an illegal memory access"):
        expect(f"{said!r} is missing in\n{report.stdout}", said in report.stdout)
    goals = {goal["goal"]: goal for goal in load(folder, "nvidia-h200.json")["goals"]}
    for goal, bound, outcome in (
            ("qdq tensor fp32: of a device copy", "at least 0.95", "met"),
            ("qdq tensor bf16: of a device copy", "at least 0.95", "missed"),
            ("qdq channel_odd_columns/255 bf16: of a device copy", "at least 0.88", "not measured"),
            ("qdq block_odd_rows/128 fp32: of a device copy", "at least 0.88", "not measured"),
            ("observe fp32 relu: of a read-only reduction", "at least 0.85", "not measured"),
            ("search of 10,000 distinct histograms, symmetric, transfers included: ms", "at most 10", "missed"),
            ("search of 10,000 distinct histograms, asymmetric, transfers included: ms", "at most 30", "not measured"),
            ("qdq tensor fp32: times as fast as PyTorch's fake_quantize_per_tensor_affine", "at least 1.1", "met"),
            ("qdq channel_rows/64x3136 fp32: times as fast as PyTorch's fake_quantize_per_channel_affine",
             "at least 1.6", "not measured"),
            ("resnet50, inputs on the device, batch 1: plain, times as fast as PyTorch", "at least 1.5", "met"),
            ("resnet50, inputs on the device, batch 1: calibrate with sqnr / plain", "at most 1.1", "met"),
            ("resnet50, inputs on the device, batch 1: simulate / plain", "at most 1.15", "missed"),
            ("resnet50, inputs on the device, batch 64: plain, times as fast as PyTorch", "at least 1.05",
             "not measured"),
            ("minilm, the same tokens, batch 1: simulate / plain", "at most 1.15", "not measured")):
        found = goals.get(goal, {})
        expect(f"{goal}: {found}", found.get("bound") == bound and found.get("verdict") == outcome)
        expect(f"{goal} is not in the table", re.search(rf"\| {re.escape(goal)} \| {bound} \|[^|]*\| {outcome} \|",
                                                       report.stdout))


def check_names():
    """Goals speak of figures that the benchmark has."""
    spec = importlib.util.spec_from_file_location("gpu_report", os.path.join(ROOT, "tools/gpu_report.py"))
    report = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(report)
    source = ""
    for name in ("bench/cuda/kernels.cu", "bench/cuda/models.cpp", "bench/support/kernel_cases.hpp"):
        with open(os.path.join(ROOT, name)) as file:
            source += file.read()
    variants = [variant for variants in report.MODELS.values() for variant in variants]
    for name in report.SEVERAL_GRIDS + report.OBSERVED + variants + [
            "tensor", "observe fp32 normal beside CUB", "search of 10,000 distinct histograms", ", symmetric",
            ", asymmetric", ", transfers included"]:
        expect(f"no figure is called {name}", f'"{name}"' in source)


def stand_in_tree(folder):
    """A tree with a bundle, and the tools of a machine with a GPU."""
    for name in ("gpu_check.sh", "gpu_tests.py", "gpu_report.py", "cuda_hash.sh"):
        os.makedirs(os.path.join(folder, "tree/tools"), exist_ok=True)
        shutil.copy(os.path.join(ROOT, "tools", name), os.path.join(folder, "tree/tools", name))
    write(os.path.join(folder, "bundle/bin/test_cuda"), STAND_IN)
    write(os.path.join(folder, "bundle/bin/test_conformance"), STAND_IN)
    write(os.path.join(folder, "bundle/bin/bench_cuda_kernels"), BENCHMARK)
    write(os.path.join(folder, "bundle/origin"), "commit c\ncuda d\n")
    os.makedirs(os.path.join(folder, "tree/gpu-bundle"))
    with tarfile.open(os.path.join(folder, "tree/gpu-bundle/bundle.tar.xz"), "w:xz") as bundle:
        bundle.add(os.path.join(folder, "bundle"), ".")
    write(os.path.join(folder, "bin/nvidia-smi"), "#!/bin/sh\necho NVIDIA H200, 580, 143771 MiB\n")
    write(os.path.join(folder, "bin/compute-sanitizer"),
          "#!/bin/sh\necho '========= Error: Device not supported. Please refer to the documentation'\nexit 1\n")


def whole_check(folder, seconds, *steps):
    environment = dict(os.environ, GPU_CHECK_SECONDS=seconds, GPU_TESTS_SILENCE="40",
                       PATH=os.path.join(folder, "bin") + ":" + os.environ["PATH"])
    since = time.monotonic()
    run = subprocess.run([os.path.join(folder, "tree/tools/gpu_check.sh"), os.path.join(folder, "results"), *steps],
                         env=environment, capture_output=True, text=True)
    return run.stdout + run.stderr, run.returncode, time.monotonic() - since


def check_whole(folder):
    stand_in_tree(folder)
    said, status, _ = whole_check(folder, "100", "memcheck", "racecheck")
    expect(f"a checker that refuses the device fails nothing, got {status}: {said}", status == 0)
    for step in ("memcheck", "racecheck"):
        expect(said, f"{step}: not run: compute-sanitizer does not support this device" in said)
    # What hangs is cut off, what comes behind it has no time, and all of it ends in time.
    said, status, took = whole_check(folder, "35", "bench_kernels", "conformance", "golden")
    expect(f"{took} s: {said}", status == 1 and took < 45)
    for part in ("device: passed", "bench_kernels: failed (1)", "golden: no time left", "- conformance: failed (1)",
                 "Cut off (1):\n\n- conformance: cuda_c.hangs", "Not measured, search: out of memory",
                 "| qdq tensor fp32: of a device copy | at least 0.95 | 0.500 | missed |"):
        expect(f"{part!r} is missing in\n{said}", part in said)
    expect(os.listdir(os.path.join(folder, "results")),
           sorted(os.listdir(os.path.join(folder, "results"))) == ["logs.tar.gz", "nvidia-h200.json", "nvidia-h200.md"])


def check_hash(folder):
    """It follows what figures depend on, and nothing else."""
    for name in ("cuda", "host", "include", "bench", "tools", "CMakeLists.txt", "CMakePresets.json"):
        source, copy = os.path.join(ROOT, name), os.path.join(folder, name)
        if os.path.isdir(source):
            shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__", "results"))
        else:
            shutil.copy(source, copy)

    def code():
        return subprocess.run([os.path.join(folder, "tools/cuda_hash.sh")], capture_output=True, text=True,
                              check=True).stdout

    def changes(name, change):
        with open(os.path.join(folder, name)) as file:
            text = file.read()
        before = code()
        write(os.path.join(folder, name), change(text))
        after = code()
        write(os.path.join(folder, name), text)
        expect(f"{name}: restored, another code", code() == before)
        return after != before

    for name in ("cuda/search.cu", "bench/cuda/kernels.cu", "bench/support/models.cpp", "bench/peer_pytorch.py",
                 "include/tare/numerics.hpp", "host/plan/fuse.cpp", "host/run/executor.cpp",
                 "host/cpu/quantize_formula.hpp", "host/calib/encoding.hpp", "tools/cuda.txt"):
        expect(f"{name} does not count", changes(name, lambda text: text + "\n"))
    expect("flags do not count", changes("CMakeLists.txt", lambda text: text.replace("--fmad=false", "--fmad=true")))
    for name in ("host/cli/main.cpp", "host/run/npz.cpp", "host/cpu/vector/unary.cpp", "CMakeLists.txt"):
        expect(f"{name} counts", not changes(name, lambda text: text + "\n"))


def check_setup(folder):
    """Set-up leaves nothing beside the toolkit, neither when it works nor when the compiler does not."""
    with open(os.path.join(ROOT, "tools/setup_cuda.sh")) as file:
        script = file.read().replace("/usr/local/cuda", os.path.join(folder, "none"))
    write(os.path.join(folder, "tools/setup_cuda.sh"), script)
    write(os.path.join(folder, "tools/cuda.txt"), "packages\n")
    write(os.path.join(folder, "bin/python3"), '''#!/bin/sh
while [ "$1" != --target ]; do shift; done
mkdir -p "$2/nvidia/cu13/bin" "$2/nvidia/cu13/lib" "$2/nvidia/cu13/nvvm/bin"
printf '#!/bin/sh\\nexit "$NVCC_STATUS"\\n' > "$2/nvidia/cu13/bin/nvcc"
touch "$2/nvidia/cu13/lib/libx.so.13"
''')
    for status in (1, 0):
        environment = dict(os.environ, NVCC_STATUS=str(status), CUDA_PREFIX=os.path.join(folder, "cache/cuda"),
                           PATH=os.path.join(folder, "bin") + ":" + os.environ["PATH"], TMPDIR=folder)
        run = subprocess.run([os.path.join(folder, "tools/setup_cuda.sh")], env=environment, capture_output=True,
                             text=True)
        expect(f"{run.returncode}: {run.stdout}{run.stderr}", run.returncode == status)
        left = os.listdir(os.path.join(folder, "cache")), sorted(os.listdir(folder))
        expect(left, left == (["cuda"] if status == 0 else [], ["bin", "cache", "tools"]))


def main():
    checks = [check_tests, check_one_part, check_parts, check_time_limit, check_killed, check_whole, check_hash,
              check_setup]
    with tempfile.TemporaryDirectory() as folder:
        check_names()
        folders = [os.path.join(folder, check.__name__) for check in checks]
        with concurrent.futures.ThreadPoolExecutor(len(checks)) as pool:  # most of their time they wait
            for own in folders:
                os.mkdir(own)
            list(pool.map(lambda check, own: check(own), checks, folders))
        check_report(os.path.join(folder, check_tests.__name__))  # with the tests that ran there
    print(f"{len(checks) + 2} passed, 0 failed")


main()
