"""One of the peers that bench/peers.py has take turns: stays alive, does what a line of standard input says, and answers
with milliseconds, as bench/worker.cpp does for tare.

    peer_worker.py {onnxruntime,aimet,percentile} MODEL DATA --threads N
"""
import argparse
import logging
import os
import sys
import tempfile
import time

logging.disable(logging.INFO)
answers = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)  # what the tools print is not an answer

import numpy  # noqa: E402
import onnxruntime  # noqa: E402


def read_batches(file, inputs):
    """Keys are inputs (one feed, or one more axis that lists the feeds) or <batch>/<input>, as tare reads them."""
    archive = numpy.load(file)
    names = [i.name for i in inputs]
    if all(name in archive for name in names):
        arrays = [archive[name] for name in names]
        if arrays[0].ndim == len(inputs[0].shape) + 1:
            return [{n: a[k] for n, a in zip(names, arrays)} for k in range(len(arrays[0]))]
        return [dict(zip(names, arrays))]
    feeds = {}
    for key in archive.files:
        batch, name = key.split("/", 1)
        feeds.setdefault(int(batch), {})[name] = archive[key]
    return [feeds[k] for k in sorted(feeds)]


class Timer:
    def __enter__(self):
        self.start = time.perf_counter()
        return self

    def __exit__(self, *_):
        self.milliseconds = (time.perf_counter() - self.start) * 1e3


class OnnxRuntime:
    """Plain inference with ONNX Runtime's default optimizations."""

    def __init__(self, model, data, threads):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self.model, self.threads = model, threads
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.batches = read_batches(data, self.session.get_inputs())

    def first(self, count):
        return [self.batches[i % len(self.batches)] for i in range(count)]

    def pass_over_data(self, session):
        with Timer() as timer:
            for feed in self.batches:
                session.run(None, feed)
        return timer.milliseconds / len(self.batches)

    def plain(self):
        return self.pass_over_data(self.session)


class Aimet(OnnxRuntime):
    """AIMET's simulation, its default configuration, int8. Building it does not count."""

    scheme = None

    def simulation(self, scheme):
        if self.scheme != scheme:
            import aimet_onnx
            import onnx
            self.sim, self.scheme = None, scheme
            self.sim = aimet_onnx.QuantizationSimModel(
                onnx.load(self.model), param_type="int8", activation_type="int8", quant_scheme=scheme,
                dummy_input=self.batches[0], providers=["CPUExecutionProvider"],
                session_options_kwargs={"intra_op_num_threads": self.threads, "log_severity_level": 3})
            self.calibrated = False
        return self.sim

    def calibrate(self, scheme, count):
        sim = self.simulation(scheme)
        feeds = self.first(count)
        with Timer() as timer:
            sim.compute_encodings(feeds)
        self.calibrated = True
        return timer.milliseconds

    def simulate(self):
        sim = self.simulation("min_max")
        if not self.calibrated:
            self.calibrate("min_max", len(self.batches))
        return self.pass_over_data(sim.session)


class Percentile(OnnxRuntime):
    """ONNX Runtime's percentile calibrator: it keeps every activation of every batch until the end. Making the model that
    hands them out does not count."""

    def calibrator(self):
        from onnxruntime.quantization.calibrate import CalibrationMethod, create_calibrator
        with tempfile.TemporaryDirectory() as folder:
            return create_calibrator(self.model, augmented_model_path=os.path.join(folder, "augmented.onnx"),
                                     calibrate_method=CalibrationMethod.Percentile)

    def bytes(self):
        """Of the activations of one batch."""
        outputs = self.calibrator().infer_session.run(None, self.batches[0])
        return sum(output.nbytes for output in outputs)

    def calibrate(self, scheme, count):
        if scheme != "percentile":
            raise ValueError(f"{scheme} is not what this measures")
        calibrator = self.calibrator()
        feeds = iter(self.first(count))

        class Reader:
            def get_next(self):
                return next(feeds, None)

        with Timer() as timer:
            calibrator.collect_data(Reader())
            calibrator.compute_data()
        return timer.milliseconds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tool", choices=["onnxruntime", "aimet", "percentile"])
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    try:
        tool = {"onnxruntime": OnnxRuntime, "aimet": Aimet, "percentile": Percentile}[arguments.tool]
        worker = tool(arguments.model, arguments.data, arguments.threads)
        print("ready", file=answers)
        for line in sys.stdin:
            command, *words = line.split()
            if command not in ("plain", "simulate", "calibrate", "bytes"):
                raise ValueError(f"'{command}' is no command")
            print(getattr(worker, command)(*[int(word) if word.isdigit() else word for word in words]), file=answers)
    except Exception as error:  # whatever a peer fails with belongs into the table
        text = f"{type(error).__name__}: {error}"
        print("error", " ".join(text.split())[:300], file=answers)
        sys.exit(1)


if __name__ == "__main__":
    main()
