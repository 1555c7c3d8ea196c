"""How much faster `collect.models.layers.convolve` is than `lax.conv_general_dilated`: side by
side, in one run.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent.parent)  # not this folder

import jax
import jax.numpy as jnp
from jax import lax

from collect.commands.output import print_anything
from collect.models.convolution import compiler_options, convolve

SIZES = [  # image size, channels in, channels out, kernel, stride, depthwise
    *((size, 128, 128, 3, 1, False) for size in (16, 4, 3, 2)),
    (4, 128, 128, 3, 2, False),
    (32, 4, 4, 3, 1, False),
    (16, 6, 6, 3, 1, False),
    (32, 3, 6, 3, 1, False),
    (28, 1, 6, 5, 1, False),
    (16, 144, 32, 1, 1, False),
    (8, 384, 64, 1, 1, False),
    (16, 64, 128, 1, 2, False),
    (16, 32, 144, 1, 1, False),
    *(
        (s, c, c, 3, stride, True)
        for s, c, stride in ((32, 96, 1), (16, 144, 1), (16, 144, 2), (8, 384, 1), (4, 960, 1))
    ),
]


def layer(function: Callable, stride: int, groups: int) -> Callable:
    """The convolution between two batch normalisations with ReLU, as networks have it: it must fuse
    with both.
    """

    def norm(x: jax.Array) -> jax.Array:
        return jax.nn.relu((x - x.mean((0, 1, 2))) * lax.rsqrt(x.var((0, 1, 2)) + 1e-5))

    def loss(x: jax.Array, kernel: jax.Array) -> jax.Array:
        pads = [(kernel.shape[0] // 2,) * 2] * 2
        options = {"dimension_numbers": ("NHWC", "HWIO", "NHWC"), "feature_group_count": groups}
        return jnp.mean(norm(function(norm(x), kernel, (stride, stride), pads, **options)) ** 3)

    return loss


def seconds(functions: list[Callable], *args: jax.Array, repeats: int) -> list[float]:
    """The shortest of a few times for each, the functions in turns."""
    best = [float("inf")] * len(functions)
    for repeat in range(repeats + 1):
        for i, function in enumerate(functions):
            start = time.perf_counter()
            jax.block_until_ready(function(*args))
            if repeat:  # the first one compiles
                best[i] = min(best[i], time.perf_counter() - start)
    return best


def main() -> None:
    print_anything()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=128, help="images a batch (%(default)s)")
    parser.add_argument(
        "--repeats", type=int, default=3, help="the shortest of so many times counts (%(default)s)"
    )
    args = parser.parse_args()
    if min(args.batch, args.repeats) < 1:
        parser.error("--batch and --repeats must be at least 1")
    print(
        f"lax's time / convolve's time on {jax.default_backend()}, batch {args.batch}; gradient:"
        " both, forward included"
    )
    print(f"{'image':>12} {'kernel':>8} {'stride':>6} {'kind':>10} {'forward':>8} {'gradient':>8}")
    for size, inputs, outputs, kernel, stride, depthwise in SIZES:
        groups = inputs if depthwise else 1
        x = jax.random.normal(jax.random.key(0), (args.batch, size, size, inputs))
        k = jax.random.normal(jax.random.key(1), (kernel, kernel, inputs // groups, outputs))
        losses = [
            layer(function, stride, groups) for function in (lax.conv_general_dilated, convolve)
        ]
        ratios = []
        for transform in (lambda f: f, lambda f: jax.grad(f, argnums=(0, 1))):
            plain, ours = seconds(
                [jax.jit(transform(f), compiler_options=compiler_options()) for f in losses],
                x,
                k,
                repeats=args.repeats,
            )
            ratios.append(plain / ours)
        image, kind = f"{size}×{size}×{inputs}", "depthwise" if depthwise else f"to {outputs}"
        print(
            f"{image:>12} {f'{kernel}×{kernel}':>8} {stride:>6} {kind:>10} {ratios[0]:>8.1f}"
            f" {ratios[1]:>8.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
