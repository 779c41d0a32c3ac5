"""A practitioner's method: a deeper MLP that is given the time, AdamW, moving average.

| symbol | shape        | meaning                                                                  |
|--------|--------------|--------------------------------------------------------------------------|
| x      | [B, n, d]    | X_t                                                                      |
| c      | [B, n, e]    | cos and sin of w_i log(h_t / alpha_t^2) / 2, e = MLP_TIME_FEATURES       |
| h_l    | [B, n, m]    | silu((x, c) V_1 + b_1); then h_l = h_(l-1) + silu((h_(l-1),c) V_l + b_l) |
| f      | [B, n, d]    | h_L V_out + b_out: estimates E[X_0 | X_t], as the paper's network does   |

The loss is the same 1/2 w ||f - X_0||^2, on minibatches as in `trainers.methods.minibatch`. Hidden
layers start uniform on +-fan_in^(-1/2), the last one at 0, so f = 0 at tau = 0. AdamW (Loshchilov
and Hutter 2019) with a constant step size; predictions and losses are those of the moving average
of the weights, whose decay rises to EMA_DECAY as (1 + tau) / (10 + tau). A trial's `initialisation`
and `bias` are about the paper's network and change nothing here.

Networks of different widths are padded with zero weights: silu(0) = 0, so a padded neuron passes
nothing on and gets no gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import silu

from trainers.methods.full_batch import dtype_of
from trainers.methods.minibatch import Minibatches
from trainers.network.gradient_descent import DIVERGENCE_FACTOR, Record, blank
from trainers.problem import diffusion as forward
from trainers.problem.regression import stream
from trainers.protocol import Task
from trainers.registry import MINIBATCH, MLP_LAYERS, MLP_TIME_FEATURES, TRAINERS
from trainers.trial import TrialConfig

FREQUENCIES = np.geomspace(0.5, 16.0, MLP_TIME_FEATURES // 2)
WEIGHT_DECAY = 0.01
EMA_DECAY = 0.999
FIRST, SECOND, EPSILON = 0.9, 0.999, 1e-8
LAYERS = (
    *(f"{kind}_{layer + 1}" for layer in range(MLP_LAYERS) for kind in "Vb"),
    "V_out",
    "b_out",
)
"""Names of a network's tensors, in the order of `initial_layers`."""
BLOCK = 1024
"""Points evaluated at a time."""

Array = NDArray[np.float64]


def inputs(config: TrialConfig, z: Array) -> Array:
    """(x, c) [n, d + e] of features z [n, k]."""
    d = config.dimension
    return np.concatenate([z[:, :d], embedding(config, z[:, d])], axis=1)


def embedding(config: TrialConfig, elapsed: Array) -> Array:
    """c [n, e] at times t - T_0 [n]."""
    t = elapsed + config.diffusion.t_min
    alpha, h = forward.alpha(config.diffusion, t), forward.h(config.diffusion, t)
    phase = np.log(np.sqrt(h) / alpha)[:, None] * FREQUENCIES
    return np.concatenate([np.cos(phase), np.sin(phase)], axis=1)


def initial_layers(config: TrialConfig, width: int) -> list[Array]:
    """[V_1, b_1, ..., V_out, b_out] at tau = 0, padded from m to `width` hidden neurons."""
    rng = stream("mlp", config.study_seed, config.seed, config.width)
    m, e, d = config.width, MLP_TIME_FEATURES, config.dimension
    layers: list[Array] = []
    for layer in range(MLP_LAYERS):
        inside, room = (d, d) if layer == 0 else (m, width)
        bound = (inside + e) ** -0.5
        V = rng.uniform(-bound, bound, (inside + e, m))
        b = rng.uniform(-bound, bound, (1, m))
        padded = np.zeros((room + e, width))
        padded[:inside, :m], padded[-e:, :m] = V[:inside], V[inside:]
        layers += [padded, np.pad(b, ((0, 0), (0, width - m)))]
    return [*layers, np.zeros((width, d)), np.zeros((1, d))]


def network(layers: Sequence[Tensor], points: Tensor) -> Tensor:
    """f [B, n, d] at inputs (x, c) [B, n, d + e]."""
    embedding = points[:, :, -MLP_TIME_FEATURES:]
    h = silu(torch.baddbmm(layers[1], points, layers[0]))
    for V, b in zip(layers[2:-2:2], layers[3:-2:2], strict=True):
        h = h + silu(torch.baddbmm(b, torch.cat([h, embedding], 2), V))
    return torch.baddbmm(layers[-1], h, layers[-2])


class MlpAdamW:
    """A time-embedded MLP of MLP_LAYERS hidden layers under AdamW, with a moving average."""

    kernel_limit = TRAINERS["mlp_adamw"].kernel_limit
    handles = ("weight", "fresh", "keep")

    def operations(self, config: TrialConfig) -> float:
        """6 for every parameter and sample of a minibatch, in each step."""
        return config.step_operations

    def network(
        self,
        configs: Sequence[TrialConfig],
        weights: Mapping[str, Tensor],
        device: torch.device,
    ) -> Callable[[Tensor], Tensor]:
        """See trainers.protocol; the weights are those of the moving average."""
        dtype, m, d = dtype_of(configs[0]), configs[0].width, configs[0].dimension
        width = int(weights["layout"].max())
        layers = []
        for index, name in enumerate(LAYERS):
            values = weights[name]
            inside = 0 if index == 0 or index % 2 else m  # rows that are hidden neurons
            outside = width - m if index < len(LAYERS) - 2 else 0
            gap = values.new_zeros(len(values), width - m if inside else 0, values.shape[2])
            values = torch.cat([values[:, :inside], gap, values[:, inside:]], 1)
            layers.append(torch.nn.functional.pad(values, (0, outside)).to(device, dtype))

        def function(z: Tensor) -> Tensor:
            elapsed = z[:, :, d].double().cpu().numpy()
            c = [embedding(config, t) for config, t in zip(configs, elapsed, strict=True)]
            embedded = torch.as_tensor(np.stack(c), dtype=dtype).to(device)
            points = torch.cat([z[:, :, :d].to(device, dtype), embedded], 2)
            return _blocks(layers, points).transpose(1, 2)

        return function

    def train(
        self,
        tasks: Sequence[Task],
        recorded: Sequence[int],
        device: torch.device,
        tick: Callable[[], None],
    ) -> Iterator[Record]:
        """See trainers.protocol."""
        configs = [task.config for task in tasks]
        dtype = dtype_of(configs[0])
        n = max(len(task.z) for task in tasks)

        def tensor(values: Sequence[Array]) -> Tensor:
            return torch.as_tensor(np.stack(values), dtype=dtype).to(device)

        def padded(values: Array) -> Array:
            return np.pad(values, ((0, n - len(values)), (0, 0)))

        def rows(step: int) -> tuple[Tensor, Tensor, Tensor]:
            """Inputs and labels, and what residuals are multiplied by: w^(1/2), 0 for padding."""
            own = [t.rows(step) for t in tasks]
            roots = [np.ones(len(r.z)) if r.weights is None else np.sqrt(r.weights) for r in own]
            return (
                tensor([padded(inputs(t.config, r.z)) for t, r in zip(tasks, own, strict=True)]),
                tensor([padded(r.x0) for r in own]),
                tensor([padded(root[:, None]) for root in roots]),
            )

        points, labels, roots = rows(0)
        fresh = any(t.fresh is not None for t in tasks)
        shown_at = tensor([inputs(t.config, t.z_eval) for t in tasks])
        samples = tensor([np.array(float(len(t.z))) for t in tasks])
        width = max(c.width for c in configs)
        each = [initial_layers(c, width) for c in configs]
        layers = [tensor(values) for values in zip(*each, strict=True)]
        average = [layer.clone() for layer in layers]
        moments = [(torch.zeros_like(v), torch.zeros_like(v)) for v in layers]
        rate = tensor([np.full((1, 1), c.step_size) for c in configs])
        minibatches = Minibatches(configs, device)
        limit = DIVERGENCE_FACTOR * (labels * roots).square().sum((1, 2)) / (2 * samples)
        diverged = torch.full((len(tasks),), -1, dtype=torch.long, device=device)
        wanted = set(recorded)
        for step in range(recorded[-1] + 1):
            tick()
            if step and fresh:
                points, labels, roots = rows(step)
            if step in wanted:
                residual = (_blocks(average, points) - labels) * roots
                loss = residual.square().sum((1, 2)) / (2 * samples)
                diverged = torch.where((diverged < 0) & ~(loss <= limit), step, diverged)
                dead = diverged >= 0
                predictions = _blocks(average, shown_at).transpose(1, 2)
                yield Record(
                    step,
                    blank(predictions, dead),
                    blank(loss, dead),
                    diverged,
                    weights=partial(_unpadded, configs, average),
                )
            if step == recorded[-1]:
                return
            chosen = minibatches.at(step)[:, :, None]
            z = torch.gather(points, 1, chosen.expand(-1, -1, points.shape[2]))
            y = torch.gather(labels, 1, chosen.expand(-1, -1, labels.shape[2]))
            root = torch.gather(roots, 1, chosen)
            for layer in layers:
                layer.requires_grad_(True)
            loss = ((network(layers, z) - y) * root).square().sum((1, 2)) / (2 * MINIBATCH)
            gradients = torch.autograd.grad(loss.sum(), layers)
            for layer in layers:
                layer.requires_grad_(False)
            diverged = torch.where((diverged < 0) & ~(loss.detach() <= limit), step, diverged)
            alive = (diverged < 0).view(-1, 1, 1)
            decay = min(EMA_DECAY, (1 + step) / (10 + step))
            for layer, mean, (m1, m2), g in zip(layers, average, moments, gradients, strict=True):
                m1.mul_(FIRST).add_(g, alpha=1 - FIRST)
                m2.mul_(SECOND).addcmul_(g, g, value=1 - SECOND)
                size = (m2 / (1 - SECOND ** (step + 1))).sqrt() + EPSILON
                towards = m1 / (1 - FIRST ** (step + 1)) / size + WEIGHT_DECAY * layer
                # Zeros for a diverged task: its NaN must not come back.
                layer.copy_(torch.where(alive, layer - rate * towards, 0.0))
                mean.lerp_(layer, 1 - decay)


def _unpadded(
    configs: Sequence[TrialConfig], layers: Sequence[Tensor], trial: int
) -> dict[str, Tensor]:
    """The layers of one trial without its padding, copied to the CPU, by LAYERS; `layout` is the
    padded width, on which the order of sums may depend."""
    m, e = configs[trial].width, MLP_TIME_FEATURES
    width = layers[1].shape[2]
    found = {"layout": torch.tensor([width])}
    for index, (name, layer) in enumerate(zip(LAYERS, layers, strict=True)):
        values = layer[trial].detach().cpu()
        if index < len(LAYERS) - 2:
            values = values[:, :m]
        if index == len(LAYERS) - 2:
            values = values[:m]
        elif index and index % 2 == 0:
            values = torch.cat([values[:m], values[-e:]])
        found[name] = values.clone()
    return found


def _blocks(layers: Sequence[Tensor], points: Tensor) -> Tensor:
    """f [B, n, d] in blocks of points, so that no [B, n, m] is held for all of them."""
    starts = range(0, points.shape[1], BLOCK)
    return torch.cat([network(layers, points[:, i : i + BLOCK]) for i in starts], 1)
