#!/usr/bin/env python3
"""PyTorch's figures beside bench/cuda: bench/peer_pytorch.py OUT.json. Eager float32 with TF32 off, inputs on the
device; milliseconds, measured as there: of kernels the fastest repetition of several calls in a row, of models the
median. What is not installed or fails is left out; exit status 77 without PyTorch or a GPU, 1 where something failed.
"""
import json
import statistics
import sys
import time
import traceback

try:
    import torch
except ImportError:
    sys.exit(77)
if not torch.cuda.is_available():
    sys.exit(77)
torch.backends.cuda.matmul.allow_tf32 = False
torch.backends.cudnn.allow_tf32 = False
torch.backends.cudnn.benchmark = True


def warm_up(body, seconds=0.3):
    """Until the clocks of an idle device are up."""
    start = time.perf_counter()
    while time.perf_counter() - start < seconds:
        body()
        torch.cuda.synchronize()


def events(body, repetitions=20, calls=8):
    """Of a call. The first one of a repetition does not count: while the device is at it, Python queues the others."""
    warm_up(body)
    best = 1e30
    for i in range(-2, repetitions):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        body()
        begin.record()
        for _ in range(calls):
            body()
        end.record()
        end.synchronize()
        if i >= 0:
            best = min(best, begin.elapsed_time(end) / calls)
    return best


def wall(body, repetitions=20):
    """With the outputs on the host, as bench/cuda/models.cpp has it."""
    warm_up(body, 1)
    times = []
    for _ in range(repetitions):
        start = time.perf_counter()
        body()
        torch.cuda.synchronize()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


def fake_quantize():
    x = torch.randn(64 * 1024 * 1024, device="cuda")
    rows = (x.numel() // (3136 * 64))
    y = x[: rows * 64 * 3136].view(rows, 64, 3136)
    scales = torch.full((64,), 0.03, device="cuda")
    zeros = torch.zeros(64, dtype=torch.int32, device="cuda")
    return {"per_tensor": events(lambda: torch.fake_quantize_per_tensor_affine(x, 0.03, 0, -128, 127)),
            "per_channel": events(lambda: torch.fake_quantize_per_channel_affine(y, scales, zeros, 1, -128, 127))}


def resnet50():
    import torchvision
    model = torchvision.models.resnet50(weights=None).eval().cuda()
    rows = []
    for batch in (1, 64):
        x = torch.randn(batch, 3, 224, 224, device="cuda")
        rows.append({"batch": batch, "ms": wall(lambda: model(x).cpu())})
    return rows


def minilm():
    import transformers
    config = transformers.BertConfig(hidden_size=384, num_hidden_layers=3, num_attention_heads=12,
                                     intermediate_size=1536)
    model = transformers.BertModel(config, add_pooling_layer=False).eval().cuda()

    def run(ids, mask):  # the model here has both outputs
        hidden = model(input_ids=ids, attention_mask=mask)[0]
        return hidden.cpu(), hidden.mean(1).cpu()

    rows = []
    for batch in (1, 64):
        ids = torch.ones(batch, 128, dtype=torch.long, device="cuda")
        mask = torch.ones_like(ids)
        rows.append({"batch": batch, "ms": wall(lambda: run(ids, mask))})
    return rows


result = {"torch": torch.__version__}
failed = False
with torch.no_grad():
    for measure in (fake_quantize, resnet50, minilm):
        try:
            result[measure.__name__] = measure()
        except ImportError as missing:
            print(f"{measure.__name__}: not measured: {missing}", file=sys.stderr)
        except Exception:  # the others are measured all the same
            failed = True
            traceback.print_exc()
        with open(sys.argv[1], "w") as file:
            json.dump(result, file)
sys.exit(1 if failed else 0)
