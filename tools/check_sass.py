#!/usr/bin/env python3
"""Checks what nvcc made of the hot kernels, where no GPU is at hand: tools/check_sass.py [build folder].

Counters of the histogram must compile to the atomic that merges equal addresses, those of a tile without a branch
between them; loads and stores to 16 bytes a thread, and nothing may spill to local memory. Prints registers and shared memory of every kernel, and the warps of a
multiprocessor that they leave room for. cuobjdump is taken from PATH, or installed into <build folder>/sass.
"""
import os
import re
import shutil
import subprocess
import sys

here = os.path.dirname(os.path.abspath(__file__))
build = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(here), "build-cuda")
objects = os.path.join(build, "CMakeFiles", "tare_cuda.dir", "cuda")

values_per_thread = 16  # that observe_kernel counts at a time

# kernel: instructions that must be there, threads a block, shared memory taken at launch.
kernels = {
    "observe_kernel": ([r"ATOMS\.POPC\.INC\.32", r"LDG\.E\S*\.128"], 768, 0),
    "qdq_uniform": ([r"LDG\.E\S*\.128", r"STG\.E\S*\.128"], 256, 0),
    "qdq_runs": ([r"LDG\.E\S*\.128", r"STG\.E\S*\.128"], 256, 0),
    "qdq_columns": ([r"LDG\.E\S*\.128", r"STG\.E\S*\.128"], 256, 0),
    "qdq_any": ([], 256, 0),
    "search_kernel": ([], 256, 77000),
    "ChainElements": ([r"LDG\.E\S*\.128", r"STG\.E\S*\.128"], 256, 0),
    "RowChainILb1ELi4": ([r"LDG\.E\S*\.128", r"STG\.E\S*\.128"], 256, 12288),
    "RowChain": ([], 256, 12288),
    "attention_kernel": ([r"LDS\.128", r"FFMA"], 128, 0),
    "counting_chain_kernel": ([r"ATOMS\.POPC\.INC\.32", r"LDG\.E\S*\.128", r"STG\.E\S*\.128"], 768, 60768),
}


def cuobjdump():
    found = shutil.which("cuobjdump")
    if found and shutil.which("nvdisasm"):
        return found, os.environ
    folder = os.path.join(build, "sass")
    site = os.path.join(folder, "site")
    if not os.path.isdir(site):
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes",
                   "--only-binary=:all:", "--target", site + ".part", "--requirement", os.path.join(here, "sass.txt")]
        subprocess.run(command, check=True)
        os.rename(site + ".part", site)
    for root, _, files in os.walk(site):
        if "cuobjdump" in files:
            for name in ("cuobjdump", "nvdisasm"):
                if name in files:
                    os.chmod(os.path.join(root, name), 0o755)
            return os.path.join(root, "cuobjdump"), {**os.environ, "PATH": root + os.pathsep + os.environ["PATH"]}
    sys.exit(f"check_sass: no cuobjdump below {site}")


def run(*arguments):
    program, environment = cuobjdump()
    return subprocess.run([program, *arguments], env=environment, check=True, capture_output=True, text=True).stdout


def kernel_of(mangled):
    return next((name for name in kernels if name in mangled), None)


def variant_of(mangled):
    types = {"E1": "float32", "E10": "float16", "E16": "bfloat16"}
    operations = ["half_even", "half_even_by_product", "half_up", "float16", "float8e4m3fn", "float8e5m2"]
    found = re.search(r"DataType(E\d+)ELNS\d_9OperationE(\d)", mangled)
    return f"<{types.get(found[1], found[1])}, {operations[int(found[2])]}>" if found else ""


def straight_counters(section):
    """The most counters that follow one another without a branch."""
    most = count = 0
    for line in section.splitlines():
        if re.search(r"\b(BRA|BRX|BSSY|BSYNC|CALL|RET|EXIT)\b", line):
            count = 0
        elif "ATOMS.POPC.INC" in line:
            count += 1
            most = max(most, count)
    return most


def main():
    failures = []
    seen = set()
    sources = [os.path.join(objects, name) for name in sorted(os.listdir(objects)) if name.endswith(".cu.o")]
    if not sources:
        sys.exit(f"check_sass: nothing compiled below {objects}; build tare_cuda first")
    print(f"{'kernel':44} registers  stack  shared  warps/SM")
    for source in sources:
        usage = run("-res-usage", source)
        for mangled, registers, stack, shared in re.findall(
                r"Function (\S+):\s+REG:(\d+) STACK:(\d+) SHARED:(\d+)", usage):
            name = kernel_of(mangled)
            if name is None:
                continue
            threads, dynamic = kernels[name][1:]
            warps = threads // 32
            per_warp = -(-int(registers) * 32 // 256) * 256
            blocks = min(65536 // (per_warp * warps), 64 // warps, 233472 // (int(shared) + dynamic + 1024), 32)
            print(f"{name + variant_of(mangled):44} {registers:>9} {stack:>6} {int(shared) + dynamic:>7} {blocks * warps:>9}")
        for section in re.split(r"\n\s*Function : ", run("-sass", source))[1:]:
            mangled = section.split("\n", 1)[0].strip()
            name = kernel_of(mangled)
            if name is None:
                continue
            seen.add(name)
            for pattern in kernels[name][0]:
                if not re.search(pattern, section):
                    failures.append(f"{name}{variant_of(mangled)}: no {pattern}")
            if re.search(r"\b(STL|LDL)\b", section):
                failures.append(f"{name}{variant_of(mangled)}: local memory (STL, LDL)")
            if name == "observe_kernel":
                returning = re.search(r"ATOMS\.(?!POPC)\S*", section)
                if returning:
                    failures.append(f"{name}: a counter without merging ({returning[0]})")
                if straight_counters(section) < values_per_thread:
                    failures.append(f"{name}: branches between the counters of a tile")
    failures += [f"{name}: no such kernel" for name in kernels if name not in seen]
    for failure in failures:
        print("FAILED", failure)
    print(f"check_sass: {len(failures)} failures")
    sys.exit(1 if failures else 0)


main()
