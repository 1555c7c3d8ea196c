"""Train the classifier whose features ``task=ddim`` compares samples in, and write it.

``python -m scripts.train_features`` makes collect/pretrained/lenet_mnist.npz: LeNet on MNIST's
training images, padded to 32×32, four epochs of Adam at 1e-3 with cosine decay and batches of 128,
seed 0. It takes about a minute, and prints the accuracy on the test images.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from tqdm import tqdm

from collect.commands.output import print_anything
from collect.data import Dataset, load
from collect.models.lenet import LeNet
from collect.tasks.classification import Classification
from collect.tasks.features import SHIPPED, SIDE
from collect.training import optimizers
from collect.training.loop import Loop

EPOCHS, BATCH, RATE = 4, 128, 1e-3
FILE = Path(__file__).resolve().parent.parent / "collect" / "pretrained" / SHIPPED


def padded(images: np.ndarray) -> np.ndarray:
    """MNIST's images with two rows and columns of zeros on each side."""
    around = (SIDE - images.shape[1]) // 2
    return np.pad(images, [(0, 0), (around, around), (around, around), (0, 0)])


def main() -> None:
    print_anything()
    digits = load("mnist")
    assert isinstance(digits, Dataset)
    images = {split: padded(np.asarray(each)) for split, each in digits.images.items()}
    data = Dataset("mnist32", digits.classes, images, digits.labels)
    task = Classification("lenet", data, batch_size=BATCH)
    steps = EPOCHS * task.steps_per_epoch
    loop = Loop(task, optimizers.make("adam", task))
    rates = optimizers.rates("cosine", RATE, steps)
    for snapshot in tqdm(loop.run(0, rates), total=EPOCHS + 1, unit="epoch", desc="lenet"):
        params, extra = snapshot.state.params, snapshot.state.extra
    print(f"test: {task.evaluate(params, extra, 'test')}")
    held = {
        f"{layer}/{kind}": np.asarray(values, np.float16)
        for layer, own in params.items()
        for kind, values in own.items()
    }
    net = LeNet((SIDE, SIDE, 1), 10, rngs=nnx.Rngs(0))
    nnx.update(net, jax.tree.map(lambda own: jnp.asarray(own, jnp.float16), params))
    seen = net.features(jnp.asarray(images["train"][:5000], jnp.float32) / 255)
    scale = np.float32(jnp.sqrt(jnp.mean(seen.astype(jnp.float32) ** 2)))
    np.savez_compressed(FILE, scale=scale, **held)
    print(f"{FILE}: {FILE.stat().st_size:,} bytes; features are divided by {scale:.4f}")


if __name__ == "__main__":
    main()
