#!/usr/bin/python3
"""PyTorch as a peer of the benchmark: on CUDA where it is there, else on the CPU.

    pytorch.py THREADS

Reads a JSON object a line and answers one a line, as protocol.ts says.
"""

import json
import os
import sys
import time

THREADS = int(sys.argv[1]) if len(sys.argv) > 1 else 1
# Libraries read these when they are loaded.
os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = str(THREADS)
INSTALL = "on Debian: apt-get install python3-torch libopenblas0-pthread"


def answer(message):
    print(json.dumps(message), flush=True)


try:
    import numpy as np
    import torch
    from torch import nn
    from torch.nn.utils.rnn import pack_padded_sequence
except ImportError as error:
    for _ in sys.stdin:
        answer({"skip": f"PyTorch is not installed for {sys.executable} ({error}); {INSTALL}"})
    sys.exit()

torch.set_num_threads(THREADS)
torch.manual_seed(42)
CUDA = torch.cuda.is_available()
DEVICE = torch.device("cuda" if CUDA else "cpu")


def blas():
    """Name of the matrix library, and the file it is in where that can be seen."""
    torch.ones(64, 64) @ torch.ones(64, 64)
    files = set()
    try:
        with open("/proc/self/maps") as maps:
            files = {line.split()[-1] for line in maps if "blas" in line or "libmkl" in line}
    except OSError:
        pass
    config = torch.__config__.show()
    if "BLAS_INFO=mkl" in config:
        return "MKL", files
    if any("openblas" in file.lower() for file in files) or "BLAS_INFO=open" in config:
        return "OpenBLAS", files
    if any("blis" in file for file in files):
        return "BLIS", files
    if any("/libblas.so" in file for file in files):
        return "reference BLAS", files
    return "unknown BLAS", files


class NextLocation(nn.Module):
    """The LSTM baseline of arXiv:2212.01953, as the project's design page next-location has it."""

    def __init__(self, V, U, embedding, hidden, layers, lstmDropout, fcDropout):
        super().__init__()
        self.location = nn.Embedding(V, embedding)
        self.hour = nn.Embedding(24, embedding)
        self.minute = nn.Embedding(4, embedding)
        self.weekday = nn.Embedding(7, embedding)
        self.duration = nn.Embedding(96, embedding)
        self.lstm = nn.LSTM(embedding, hidden, layers, dropout=lstmDropout if layers > 1 else 0)
        self.layer_norm = nn.LayerNorm(hidden)
        self.user = nn.Embedding(U, hidden)
        self.linear1 = nn.Linear(hidden, 2 * hidden)
        self.linear2 = nn.Linear(2 * hidden, hidden)
        self.norm = nn.BatchNorm1d(hidden)
        self.output = nn.Linear(hidden, V)
        self.drop = nn.Dropout(0.1)
        self.fc_drop = nn.Dropout(fcDropout)

    def forward(self, batch):
        x = self.location(batch["location"]) + self.hour(batch["hour"])
        x = x + self.minute(batch["minute"]) + self.weekday(batch["weekday"])
        x = self.drop(x + self.duration(batch["duration"]))
        # The state after the last step is the output of each sample's last visit; without packing
        # where all are equally long, which is faster.
        if not batch["fixed"]:
            x = pack_padded_sequence(x, batch["lengths"], enforce_sorted=False)
        _, (h, _) = self.lstm(x)
        x = self.drop(self.layer_norm(h[-1]) + self.user(batch["user"]))
        block = self.linear2(self.fc_drop(torch.relu(self.linear1(x))))
        return self.output(self.norm(x + self.fc_drop(block)))


def collate(samples):
    """A batch padded to its longest sample, [T,B]."""
    lengths = [len(sample["x"]) for sample in samples]

    def steps(key):
        padded = np.zeros((max(lengths), len(samples)), dtype=np.int64)
        for b, sample in enumerate(samples):
            padded[: lengths[b], b] = sample[key]
        return padded

    start = steps("startMin")
    series = {
        "location": steps("x"),
        "hour": start // 60,
        "minute": start % 60 // 15,
        "weekday": steps("weekday"),
        "duration": steps("dur") // 30,
        "user": np.array([sample["user"] for sample in samples]),
        "target": np.array([sample["target"] for sample in samples]),
    }
    batch = {key: torch.from_numpy(value).to(DEVICE) for key, value in series.items()}
    # Packing wants the lengths on the host.
    return {**batch, "lengths": torch.tensor(lengths), "fixed": min(lengths) == max(lengths)}


def synchronize():
    if CUDA:
        torch.cuda.synchronize()


class ModelSession:
    def __init__(self, work):
        with open(work["batches"]) as file:
            self.samples = json.load(file)
        self.kind = work["kind"]
        self.model = NextLocation(**work["model"]).to(DEVICE)
        self.model.train(self.kind in ("train", "epoch"))
        self.parameters = sum(p.numel() for p in self.model.parameters())
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3, weight_decay=1e-6)
        self.loss = nn.CrossEntropyLoss(ignore_index=0)
        # Prediction and a whole epoch count making the tensors too.
        self.prepared = self.kind in ("train", "evaluate")
        self.batches = [collate(s) for s in self.samples] if self.prepared else None
        self.units = 1 if self.kind == "epoch" else len(self.samples)

    def step(self, batch):
        loss = self.loss(self.model(batch), batch["target"])
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        return loss.detach()

    def epoch(self, count):
        losses = [self.step(collate(samples)) for samples in self.samples[:count]]
        return torch.stack(losses).mean().item()

    def unit(self, i):
        i %= len(self.samples)
        if self.kind == "epoch":
            return self.epoch(len(self.samples))
        if self.kind == "train":
            return self.step(self.batches[i])
        with torch.no_grad():
            if self.kind == "evaluate":
                return self.loss(self.model(self.batches[i]), self.batches[i]["target"])
            logits = self.model(collate(self.samples[i]))
            return torch.topk(torch.softmax(logits, 1), 10).indices.tolist()

    def warm_up(self):
        if self.kind == "epoch":
            return self.epoch(20)
        for i in range(max(2, self.units)):
            self.unit(i)


class LstmSession:
    """Forward and backward of a layer, gradients of the weights and of x."""

    units = 1
    parameters = None

    def __init__(self, work):
        self.lstm = nn.LSTM(work["I"], work["H"]).to(DEVICE)
        self.x = torch.randn(work["T"], work["B"], work["I"], device=DEVICE, requires_grad=True)
        self.dy = torch.randn(work["T"], work["B"], work["H"], device=DEVICE)

    def unit(self, _):
        self.lstm.zero_grad(set_to_none=True)
        self.x.grad = None
        self.lstm(self.x)[0].backward(self.dy)

    def warm_up(self):
        for _ in range(2):
            self.unit(0)


def set_up(work):
    if CUDA and THREADS > 1:
        return None, {"skip": "PyTorch uses CUDA: threads do not matter"}
    session = LstmSession(work) if work["kind"] == "lstm" else ModelSession(work)
    session.warm_up()
    synchronize()
    library, files = blas()
    threads = f"{THREADS} thread{'s' if THREADS > 1 else ''}"
    where = (
        f"{torch.cuda.get_device_name()}, cuDNN {torch.backends.cudnn.version()}"
        if CUDA
        else f"CPU, {threads}, {library}"
    )
    notes = []
    if library == "reference BLAS" and not CUDA:
        notes.append(
            "reference BLAS: several times slower than OpenBLAS, no fair peer; "
            "apt-get install libopenblas0-pthread"
        )
    return session, {
        "ready": True,
        "name": f"PyTorch {torch.__version__} {where}",
        "notes": notes,
        "details": {
            "blas": library,
            "blasFiles": sorted(files),
            "threads": THREADS,
            "parameters": session.parameters,
            "config": torch.__config__.show(),
        },
    }


def run(session, steps):
    if not CUDA:
        ms = []
        for i in range(steps):
            start = time.perf_counter()
            session.unit(i)
            ms.append(1000 * (time.perf_counter() - start))
        return {"ms": ms}
    start = time.perf_counter()
    for i in range(steps):
        session.unit(i)
    synchronize()
    return {"ms": [1000 * (time.perf_counter() - start) / steps] * steps, "batched": True}


def main():
    session = None
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "end":
            break
        try:
            if request["do"] == "setup":
                session = None
                session, reply = set_up(request["work"])
                answer(reply)
            elif session is not None:
                answer(run(session, request["steps"]))
            else:
                answer({"skip": "nothing is set up"})
        except Exception as error:  # Whatever fails here must not end the benchmark.
            answer({"skip": f"{type(error).__name__}: {error}".split("\n")[0]})


main()
