"""Networks that were kept: their files, and what they predict (docs/theory.md, section 14).

| symbol | meaning                                              | shape  |
|--------|------------------------------------------------------|--------|
| x      | a point of R^d, at time t in (0, T]                  | [n, d] |
| f      | the network's estimate of E[X_0 | X_t = x]           | [n, d] |
| score  | (alpha_t f - x) / h_t                                | [n, d] |
| eps    | (x - alpha_t f) / h_t^(1/2): the noise               | [n, d] |
| v      | (alpha_t x - f) / h_t^(1/2) = alpha_t eps - h_t^(1/2) f | [n, d] |

A file is a safetensors file, `<SHA-256 of its content>.safetensors`: the tensors that a trainer's
Record gave (trainers.protocol), and in its metadata the configuration and the step. So it says all
that is needed to predict, but for the file of a trainer of your own.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal

import fsspec
import numpy as np
import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from trainers.errors import TrainerError, UserError, first_line
from trainers.kept.keep import SUFFIX
from trainers.methods.load import handled, trainer_of
from trainers.problem import diffusion as forward
from trainers.protocol import KeepingTrainer
from trainers.trial import Diffusion, TrialConfig

FORMAT = "scorerates network 1"

Predicted = Literal["f", "score", "eps", "v"]


class NetworkFileError(UserError, ValueError):
    """The file of a network is missing, damaged, or none."""


def keeping_trainer(config: TrialConfig) -> KeepingTrainer:
    """The trial's trainer. Raises TrainerError where its networks cannot be kept."""
    trainer = trainer_of(config)
    if "keep" not in handled(trainer) or not isinstance(trainer, KeepingTrainer):
        raise TrainerError(
            f"trainer {config.trainer} does not say that its networks can be kept: give its "
            'records `weights`, its class `network` and handles = ("keep",) (trainers.protocol), '
            "or remove the key keep"
        )
    return trainer


def network_file(config: TrialConfig, step: int, weights: Mapping[str, Tensor]) -> bytes:
    """The content of the file of a trial's network at `step`: the same for the same tensors."""
    about = {
        "format": FORMAT,
        "trial_id": config.trial_id,
        "step": step,
        "config": config.model_dump(mode="json"),
    }
    # One key: the order of several is the library's whim.
    metadata = {"scorerates": json.dumps(about, sort_keys=True)}
    return save({name: v.contiguous() for name, v in weights.items()}, metadata)


def file_name(content: bytes) -> str:
    """The name of the file with this content."""
    return hashlib.sha256(content).hexdigest() + SUFFIX


class Networks:
    """B networks of one shape and trainer, evaluated side by side on a device.

    configs [B]; weights: of each, by name, as its trainer's Record gave them.
    """

    def __init__(
        self,
        configs: Sequence[TrialConfig],
        weights: Sequence[Mapping[str, Tensor]],
        device: str | torch.device = "cpu",
    ) -> None:
        self.configs, self.device = list(configs), torch.device(device)
        first = self.configs[0]
        self._bias, self.diffusion = first.bias, first.diffusion
        stacked = {name: torch.stack([w[name] for w in weights]) for name in weights[0]}
        trainer = keeping_trainer(first)
        self._function = trainer.network(self.configs, stacked, self.device)

    @torch.no_grad()
    def __call__(self, x: Tensor, t: Tensor | float) -> Tensor:
        """f [B, n, d], float64, at x [B, n, d] and t, a number, [n] or [B, n]."""
        x = x.to(self.device, torch.float64)
        elapsed = torch.as_tensor(t, dtype=torch.float64, device=self.device)
        elapsed = (elapsed - self.diffusion.t_min).expand(x.shape[:2])[..., None]
        columns = [x, elapsed, *([torch.ones_like(elapsed)] if self._bias else [])]
        return self._function(torch.cat(columns, 2)).transpose(1, 2).double()


def alike(config: TrialConfig, weights: Mapping[str, Tensor]) -> tuple[object, ...]:
    """What networks must share to be one `Networks`: kind, shapes, and the layout of neurons."""
    c = config
    kind = (c.trainer_label, c.dimension, c.bias, c.precision, c.diffusion, c.weight == "x0")
    shapes = tuple((name, tuple(values.shape)) for name, values in weights.items())
    layout = weights["layout"].tolist() if "layout" in weights else []
    return (*kind, c.width, shapes, *layout)


class Network(nn.Module):
    """One network that was kept. config, step: of what it is. Called with x [n, d] and t, a number
    or [n], it gives what it was loaded to predict, [n, d] in float64, without gradients; `f`,
    `score`, `eps` and `v` give each (see the module's table)."""

    def __init__(
        self,
        config: TrialConfig,
        step: int,
        weights: Mapping[str, Tensor],
        predicts: Predicted = "f",
    ) -> None:
        super().__init__()
        self.config, self.step, self.predicts = config, step, predicts
        self._names = list(weights)
        for name, values in weights.items():
            self.register_buffer(name, values)
        self._networks: Networks | None = None
        keeping_trainer(config)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Network:
        """Moved to another device, it predicts there. Its numbers stay as they were trained."""
        self._networks = None
        super()._apply(lambda v: v.to(fn(v).device), recurse)  # type: ignore[no-untyped-call]
        return self

    def f(self, x: Tensor, t: Tensor | float) -> Tensor:
        """The estimate of E[X_0 | X_t = x]."""
        if self._networks is None:
            held = {name: self.get_buffer(name) for name in self._names}
            device = next(iter(held.values())).device
            cpu = {name: values.cpu() for name, values in held.items()}
            self._networks = Networks([self.config], [cpu], device)
        return self._networks(x[None], t)[0]

    def score(self, x: Tensor, t: Tensor | float) -> Tensor:
        """The estimate of grad log p_t(x)."""
        f, alpha, h = self._all(x, t)
        return (alpha * f - x) / h

    def eps(self, x: Tensor, t: Tensor | float) -> Tensor:
        """The estimate of the noise (X_t - alpha X_0) / h^(1/2)."""
        f, alpha, h = self._all(x, t)
        return (x - alpha * f) / h.sqrt()

    def v(self, x: Tensor, t: Tensor | float) -> Tensor:
        """The estimate of alpha eps - h^(1/2) X_0 (Salimans and Ho 2022)."""
        f, alpha, h = self._all(x, t)
        return (alpha * x - f) / h.sqrt()

    def forward(self, x: Tensor, t: Tensor | float) -> Tensor:
        """What `predicts` says."""
        predicted: Tensor = getattr(self, self.predicts)(x, t)
        return predicted

    def _all(self, x: Tensor, t: Tensor | float) -> tuple[Tensor, Tensor, Tensor]:
        f = self.f(x, t)
        alpha, h = signal(self.config.diffusion, t, f.device)
        return f, alpha, h


def signal(diffusion: Diffusion, t: Tensor | float, device: torch.device) -> tuple[Tensor, Tensor]:
    """alpha and h at t, a number or [n]: [1] or [n, 1], float64."""
    times = np.atleast_1d(np.asarray(torch.as_tensor(t).cpu(), dtype=np.float64))[:, None]
    both = forward.alpha(diffusion, times), forward.h(diffusion, times)
    alpha, h = (torch.as_tensor(v, device=device) for v in both)
    return alpha, h


def load_network(
    source: str | Path | bytes,
    device: str | torch.device = "cpu",
    predicts: Predicted = "f",
) -> Network:
    """The network of a file that a study kept: a path, a URL, or the content itself.

    Raises NetworkFileError where the file is missing or damaged, and TrainerError where the trainer
    is one of your own whose file is not there or has changed.
    """
    content, name = (source, "the content") if isinstance(source, bytes) else _read(str(source))
    return read_network(content, name, predicts).to(device)


def read_network(content: bytes, name: str, predicts: Predicted = "f") -> Network:
    """The network of a file's content; `name` is for the message of NetworkFileError."""
    config, step, weights = read_weights(content, name)
    return Network(config, step, weights, predicts)


def read_weights(content: bytes, name: str) -> tuple[TrialConfig, int, dict[str, Tensor]]:
    """Configuration, step and tensors of a file's content; `name` is for the message of
    NetworkFileError."""
    try:
        weights = load(content)
        size = int.from_bytes(content[:8], "little")
        about = json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["scorerates"])
        if about["format"] != FORMAT:
            raise ValueError(f"it has the format {about['format']!r}, not {FORMAT!r}")
        config = TrialConfig.model_validate(about["config"])
    except (SafetensorError, ValidationError, ValueError, KeyError, TypeError) as error:
        raise NetworkFileError(
            f"{name}: no network of this program, or damaged ({first_line(error)}); {_AGAIN}"
        ) from None
    return config, int(about["step"]), weights


_AGAIN = "remove the file, and run the study again to train it anew"


def _read(source: str) -> tuple[bytes, str]:
    try:
        with fsspec.open(source, "rb") as file:
            content: bytes = file.read()
    except (OSError, ValueError, ImportError) as error:
        raise NetworkFileError(f"{source}: cannot be read: {first_line(error)}") from None
    stem = PurePosixPath(source).name.removesuffix(SUFFIX)
    if re.fullmatch("[0-9a-f]{64}", stem) and hashlib.sha256(content).hexdigest() != stem:
        raise NetworkFileError(f"{source}: damaged: its content is not that of its name; {_AGAIN}")
    return content, source
