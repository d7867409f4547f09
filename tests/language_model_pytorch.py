"""The stacked LSTM language model in PyTorch, trained as `deno task train --model stacked-lstm` does:
same text, split, streams, chunks, sizes, dropout, optimizer and schedule; other random numbers.

    deno task train --model stacked-lstm --data FILE --epochs E --set optimiser.num_training_epochs=E
    /usr/bin/python3 tests/language_model_pytorch.py FILE E

Prints the loss and the bits per character of the test part after E epochs.
"""

import math
import sys
import time

import torch
from torch import nn

FILE, EPOCHS = sys.argv[1], int(sys.argv[2])
STREAMS, STEPS, H, LAYERS, DROPOUT = 32, 64, 128, 2, 0.1
PEAK, CLIP, DECAY = 0.004, 1.0, 1e-6
torch.manual_seed(42)

text = open(FILE, encoding="utf-8", newline="").read()
vocabulary = sorted(set(text))
V = len(vocabulary)
number = {character: i for i, character in enumerate(vocabulary)}
ids = torch.tensor([number[character] for character in text])
n = len(ids)
test_from = n - round(0.05 * n)
validation_from = test_from - round(0.05 * n)
train, test = ids[:validation_from], ids[test_from:]


class Model(nn.Module):
    """One bias a gate: PyTorch's second one stays zero."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.LSTM(V if l == 0 else H, H) for l in range(LAYERS))
        self.proj = nn.Linear(H, V)
        for layer in self.layers:
            for gate in [*layer.weight_ih_l0.data.chunk(4), *layer.weight_hh_l0.data.chunk(4)]:
                nn.init.xavier_uniform_(gate)
            nn.init.zeros_(layer.bias_ih_l0)
            nn.init.zeros_(layer.bias_hh_l0)
            layer.bias_hh_l0.requires_grad = False
        nn.init.xavier_uniform_(self.proj.weight)
        nn.init.zeros_(self.proj.bias)

    def forward(self, x, states):
        x, after = nn.functional.one_hot(x, V).float(), []
        for layer, state in zip(self.layers, states):
            x, state = layer(x, state)
            after.append(tuple(s.detach() for s in state))
            x = nn.functional.dropout(x, DROPOUT, self.training)
        return self.proj(x), after


def chunks(part, whole):
    """Inputs and targets, [T,B]: consecutive chunks of parallel streams."""
    streams = max(1, min(STREAMS, (len(part) - 1) // STEPS))
    length = (len(part) - 1) // streams
    x = part[: streams * length].view(streams, length).t()
    y = part[1 : streams * length + 1].view(streams, length).t()
    for t in range(0, length, STEPS):
        if whole and t + STEPS > length:
            break
        yield x[t : t + STEPS], y[t : t + STEPS]


def zeros(x):
    return [(torch.zeros(1, x.shape[1], H), torch.zeros(1, x.shape[1], H)) for _ in range(LAYERS)]


model = Model()
parameters = [p for p in model.parameters() if p.requires_grad]
optimizer = torch.optim.Adam(parameters, lr=PEAK, weight_decay=DECAY)
total = EPOCHS * sum(1 for _ in chunks(train, True))
step, begin = 0, time.time()
for epoch in range(EPOCHS):
    states = None
    for x, y in chunks(train, True):
        logits, states = model(x, states or zeros(x))
        loss = nn.functional.cross_entropy(logits.reshape(-1, V), y.reshape(-1))
        optimizer.param_groups[0]["lr"] = PEAK * (1 - step / total)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, CLIP)
        optimizer.step()
        step += 1
seconds = time.time() - begin
model.eval()
states, nats, characters = None, 0.0, 0
with torch.no_grad():
    for x, y in chunks(test, False):
        logits, states = model(x, states or zeros(x))
        nats += nn.functional.cross_entropy(logits.reshape(-1, V), y.reshape(-1), reduction="sum").item()
        characters += y.numel()
loss = nats / characters
print(f"{step} steps in {seconds:.0f} s; test of {characters} characters: loss {loss:.3f}, "
      f"bits/character {loss / math.log(2):.3f}")
