"""Runs a model in ONNX Runtime as it stands: run.py MODEL.onnx INPUTS.npz OUTPUTS.npz, outputs by their number."""
import sys
import numpy
import onnxruntime

options = onnxruntime.SessionOptions()
options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
options.log_severity_level = 3
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
with numpy.load(sys.argv[2]) as inputs:
    outputs = session.run(None, dict(inputs.items()))
with open(sys.argv[3], "wb") as file:
    numpy.savez(file, **{str(i): value for i, value in enumerate(outputs)})
