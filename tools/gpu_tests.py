#!/usr/bin/env python3
"""Runs tests of GoogleTest in several processes, so that a kernel that faults or hangs costs no other test:
tools/gpu_tests.py LOGS NAME SECONDS PARTS BINARY=FILTER... Tests are split into so many parts (0: one a suite), four
run beside each other, on a share of the cores each; what is left of a part goes on in a fresh process when one crashed,
hung, or left the device in an error that stays. A test that runs when the time is up is "cut off", those behind it are
"not run". Writes LOGS/NAME.json after every process, the output of part N to LOGS/NAME.N.log, and what became of the
tests to standard output, at most 3 s after SECONDS. Exit status 1 unless all passed or were skipped.
GPU_TESTS_SILENCE: after so many seconds without a line a test hangs, 40 by default."""
import concurrent.futures
import itertools
import json
import os
import re
import select
import subprocess
import sys
import threading
import time

BESIDE = 4
SILENCE = float(os.environ.get("GPU_TESTS_SILENCE", 40))
# A thread that waits must not keep a core from another process.
ENVIRONMENT = dict(os.environ, OMP_WAIT_POLICY="passive")
# Errors after which every call of the process fails.
STAYS = re.compile(r"cudaError(IllegalAddress|LaunchFailure|MisalignedAddress|IllegalInstruction|InvalidPc|"
                   r"InvalidAddressSpace|HardwareStackError|Assert|LaunchTimeout|ECCUncorrectable)|"
                   r"illegal memory access|STATUS_EXECUTION_FAILED|STATUS_INTERNAL_ERROR")
LINE = re.compile(r"\[ *(RUN|OK|FAILED|SKIPPED) *\] ([^\s,]+\.[^\s,]+)")


def list_tests(binary, wanted, deadline):
    try:
        listed = subprocess.run([binary, "--gtest_list_tests", "--gtest_filter=" + wanted], capture_output=True,
                                text=True, env=ENVIRONMENT, timeout=max(deadline - time.monotonic(), 0.1))
    except subprocess.TimeoutExpired:
        sys.exit(f"{binary} does not list its tests in time")
    tests, suite = [], ""
    for line in listed.stdout.splitlines():
        word = line.split("#")[0].strip()
        if line.startswith("  "):
            tests.append(suite + word)
        elif word.endswith("."):
            suite = word
    if not tests:
        sys.exit(f"{binary}: no tests like {wanted}\n{listed.stdout[-1000:]}{listed.stderr[-4000:]}")
    return [(binary, test) for test in tests]


def split(tests, parts):
    """By suite, or dealt out like cards: neighbours are alike."""
    groups = {}
    for i, (binary, test) in enumerate(tests):
        groups.setdefault((binary, test.split(".")[0] if parts == 0 else i % parts), []).append(test)
    return [(binary, group) for (binary, _), group in groups.items()]


class Results:
    """What became of all tests, in a file that is whole at any time: who runs this may end it."""

    def __init__(self, tests, path):
        self.found = {test: {"status": "not run", "text": ""} for test in tests}
        self.path, self.lock = path, threading.Lock()
        self.write()

    def note(self, test, status, text):
        with self.lock:
            self.found[test] = {"status": status, "text": "\n".join(text)[:1500]}

    def write(self):
        with self.lock:
            with open(self.path + ".part", "w") as file:
                json.dump(self.found, file, indent=1)
            os.replace(self.path + ".part", self.path)


class Part:
    """The tests of one part, one process after the other."""

    def __init__(self, binary, tests, log, deadline, results):
        self.binary, self.left, self.log, self.deadline, self.results = binary, tests, log, deadline, results

    def run(self):
        with open(self.log, "w") as log:
            while self.left and time.monotonic() < self.deadline - 1:
                before = len(self.left)
                self.run_process(log)
                self.results.write()
                if len(self.left) == before:
                    break  # it does not come as far as a test

    def note(self, test, status, text):
        self.results.note(test, status, text)
        if test in self.left:
            self.left.remove(test)

    def run_process(self, log):
        wanted = ":".join(test.replace("-", "?") for test in self.left)  # '-' would begin what is left out
        process = subprocess.Popen([self.binary, "--gtest_color=no", "--gtest_filter=" + wanted],
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                   env=ENVIRONMENT)
        running, text, status, ended = None, [], "crashed", ""
        for line in self.lines(process):
            if line is None:
                is_late = time.monotonic() >= self.deadline
                status, ended = ("cut off", "the time is up") if is_late else ("hung", f"silent for {SILENCE:g} s")
                break
            log.write(line + "\n")
            log.flush()
            match = LINE.match(line)
            if not match:
                text.append(line)
                continue
            what, test = match.groups()
            if what == "RUN":
                running, text = test, []
            elif test == running:
                broken = what == "FAILED" and STAYS.search("\n".join(text))
                outcome = {"OK": "passed", "SKIPPED": "skipped"}.get(what, "crashed" if broken else "failed")
                self.note(test, outcome, text)
                running = None
                if broken:
                    break
        self.end(process, log)
        if running:
            ended = ended or f"exit status {process.returncode}"
            self.note(running, status, text + [ended])
        log.write(f"--- {ended or 'end'}\n")

    @staticmethod
    def end(process, log):
        process.kill()
        process.stdout.close()
        try:
            process.wait(2)
        except subprocess.TimeoutExpired:
            log.write("the process does not end\n")

    def lines(self, process):
        """What it prints; None when it is silent for too long."""
        rest = b""
        while True:
            patience = min(SILENCE, self.deadline - time.monotonic())
            if patience <= 0 or not select.select([process.stdout], [], [], patience)[0]:
                yield None
                return
            read = os.read(process.stdout.fileno(), 65536)
            if not read:
                try:  # the exit status is its own, unless it stays
                    process.wait(1)
                except subprocess.TimeoutExpired:
                    pass
                break
            *whole, rest = (rest + read).split(b"\n")
            yield from (line.decode(errors="replace") for line in whole)
        if rest:
            yield rest.decode(errors="replace")


def take_share(numbers, beside, cores):
    """Processes inherit the cores of the thread that starts them."""
    os.sched_setaffinity(0, cores[next(numbers) % len(cores)::beside])


def main():
    folder, name, seconds, parts = sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4])
    deadline = time.monotonic() + seconds
    tests = [test for argument in sys.argv[5:] for test in list_tests(*argument.split("=", 1), deadline)]
    results = Results([test for _, test in tests], os.path.join(folder, name + ".json"))
    groups = split(tests, parts)
    beside = min(BESIDE, len(groups))
    share = itertools.count(), beside, sorted(os.sched_getaffinity(0))
    with concurrent.futures.ThreadPoolExecutor(beside, initializer=take_share, initargs=share) as pool:
        waiting = [pool.submit(Part(binary, group, os.path.join(folder, f"{name}.{i}.log"), deadline, results).run)
                   for i, (binary, group) in enumerate(groups)]
        for part in waiting:
            part.result()
    found = results.found
    bad = 0
    by_status = {}
    for test, result in found.items():
        by_status.setdefault(result["status"], []).append(test)
    print(", ".join(f"{len(names)} {status}" for status, names in sorted(by_status.items())))
    for status in ("crashed", "hung", "failed", "cut off", "not run"):
        for test in by_status.get(status, []):
            bad += 1
            print(f"{status}: {test}")
            print("".join(f"    {line}\n" for line in found[test]["text"].splitlines()), end="")
    sys.exit(1 if bad else 0)


main()
