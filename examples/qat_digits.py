"""Train the example network with 2-bit weights and 2-bit inputs, and save it as integers.

The float network (64-32-10, ``digits.safetensors``) is the starting point; a model of your own goes through
``train.prepare(model, ...)`` instead of ``train.from_network(net, ...)``. Run from a clone or anywhere else, with torch
and scikit-learn installed; it takes about 20 seconds on one core::

    python examples/qat_digits.py

Data: "Optical Recognition of Handwritten Digits", E. Alpaydin and C. Kaynak, UCI Machine Learning Repository, licence
CC BY 4.0, in the copy that scikit-learn ships.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

import lutkan
from lutkan import train

HERE = Path(__file__).resolve().parent

if __name__ == "__main__":
    pixels, labels = load_digits(return_X_y=True)
    X = (pixels / 8 - 1).astype(np.float32)
    test = np.load(HERE / "digits_test.npz")
    held_out = {row.tobytes() for row in test["X"]}
    rows = np.array([row.tobytes() not in held_out for row in X])

    net = lutkan.import_model(HERE / "digits.safetensors")
    model = train.from_network(net, "w2a2", method="lsq+")  # the same spec serves PTQ and lutkan.compile
    train.train(model, X[rows], labels[rows], epochs=40, lr=1e-3, seed=0)  # a bar with the loss, on a terminal
    report = train.compare_decisions(model, test["X"])

    artifact = train.convert(model)
    artifact.save("digits-w2a2.lutkan")
    answers = lutkan.load(artifact).predict(test["X"])
    for name, logits in (("float model", net.evaluate(test["X"])), ("2-bit artifact", answers)):
        print(f"{name}: {np.mean(logits.argmax(axis=1) == test['y']):.2%} of {len(answers)} test rows right")
    print(f"{artifact.nbytes:,} bytes; {report.differing} decisions differ from those of the quantized torch model")
