"""Fitting: a corpus in, a bundle out."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float
from tqdm import tqdm

from meta_train import objective
from nowcast.forecasters import wnn
from nowcast.types import PyTree, UserError


class Fit(NamedTuple):
    """The best networks, and how the fit went."""

    params: dict[str, PyTree]
    curves: dict[str, list[float]]
    """``step``, ``train/NETWORK`` and ``validation/NETWORK``: L1 in normalised units, at every evaluation."""


def fit(
    train: Mapping[str, Float[np.ndarray, "N columns"]],
    validation: Mapping[str, Float[np.ndarray, "M columns"]],
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    evaluations: int = 40,
) -> Fit:
    """Fit one WNN per operation, all in one compiled step; of each network the best parameters on validation are kept.

    Adam with a cosine schedule down to 0.

    Args:
        train: Windows with targets, per network (:func:`meta_train.windows.sample`).
        validation: The same, from other runs.
        steps: Optimizer steps.
        batch_size: Windows a step, per network.
        learning_rate: Of the first step.
        seed: Of the initial parameters and of the batches.
        evaluations: How often validation is looked at.
    """
    networks = sorted(train)
    if networks != sorted(validation):
        raise UserError(
            f"corpus: training runs have weights for {networks}, validation runs for {sorted(validation)}; collect more runs"
        )
    window = train[networks[0]].shape[1] - 1
    prepared = [objective.examples(jnp.asarray(train[name])) for name in networks]
    held_out = [objective.examples(jnp.asarray(validation[name])) for name in networks]
    keys = jax.random.split(jax.random.key(seed), len(networks))
    params = jax.vmap(lambda key: wnn.init_network(key, window))(keys)
    optimizer = optax.adam(optax.cosine_decay_schedule(learning_rate, steps))
    every = max(1, steps // evaluations)

    @jax.jit
    def advance(params: PyTree, state: PyTree, key: jax.Array, inputs: Any, targets: Any) -> Any:
        """``every`` steps."""

        def one(carry: Any, key: jax.Array) -> Any:
            params, state = carry
            picks = [
                jax.random.randint(k, (batch_size,), 0, len(t))
                for k, t in zip(jax.random.split(key, len(targets)), targets, strict=True)
            ]
            x = jnp.stack([i[p] for i, p in zip(inputs, picks, strict=True)])
            y = jnp.stack([t[p] for t, p in zip(targets, picks, strict=True)])
            value, grads = jax.value_and_grad(objective.loss_of_all)(params, x, y)
            updates, state = optimizer.update(grads, state, params)
            return (optax.apply_updates(params, updates), state), value

        (params, state), values = jax.lax.scan(one, (params, state), jax.random.split(key, every))
        return params, state, values

    @jax.jit
    def errors(params: PyTree, inputs: Any, targets: Any) -> list[jax.Array]:
        each = [jax.tree.map(lambda p, k=k: p[k], params) for k in range(len(targets))]
        return [jnp.mean(jnp.abs(wnn.network(p, x) - y)) for p, x, y in zip(each, inputs, targets, strict=True)]

    inputs, targets = zip(*prepared, strict=True)
    val_inputs, val_targets = zip(*held_out, strict=True)
    thin = [max(1, len(y) // len(v)) for y, v in zip(targets, val_targets, strict=True)]
    sample = [x[::n] for x, n in zip(inputs, thin, strict=True)], [y[::n] for y, n in zip(targets, thin, strict=True)]
    best = [(np.inf, params)] * len(networks)
    curves: dict[str, list[float]] = {"step": []}
    state = optimizer.init(params)
    rounds = -(-steps // every)
    with tqdm(total=rounds * every, unit="step", desc="meta-train wnn") as bar:
        for i in range(rounds + 1):
            if i:
                params, state, values = advance(params, state, jax.random.fold_in(keys[0], i), inputs, targets)
                if not np.isfinite(values).all():
                    raise UserError(
                        f"meta-training: the loss is not finite at step {i * every}; lower learning_rate={learning_rate:g}"
                    )
                bar.update(every)
            fitted = errors(params, *sample)
            checked = errors(params, val_inputs, val_targets)
            curves["step"].append(i * every)
            for k, name in enumerate(networks):
                curves.setdefault(f"train/{name}", []).append(float(fitted[k]))
                curves.setdefault(f"validation/{name}", []).append(float(checked[k]))
                if float(checked[k]) < best[k][0]:
                    best[k] = (float(checked[k]), params)
            bar.set_postfix_str(" ".join(f"{name} {float(checked[k]):.4f}" for k, name in enumerate(networks)))
    chosen = {name: jax.tree.map(lambda p, k=k: p[k], best[k][1]) for k, name in enumerate(networks)}
    return Fit(chosen, curves)
