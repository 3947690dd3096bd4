"""Slice by slice through a volume, on a CPU with the same result to the last bit for every number of threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import torch
from custom_components.data.preprocessing import classes_at
from custom_components.errors import InputError
from custom_components.networks.folding import fold_network
from custom_components.networks.unet import MultiDomainUNet, answer_for
from custom_components.quality.expected_dice import ExpectedDice
from custom_components.system.terminal import track
from custom_components.system.threads import map_exactly
from monai.data import MetaTensor
from monai.inferers import SliceInferer
from torch import Tensor

__all__ = ["SlicewiseInferer"]

Result = TypeVar("Result")


class SlicewiseInferer(SliceInferer):
    """MONAI's `SliceInferer`; on a CPU each slice passes the network by itself, on one thread.

    There, neither the number of threads nor `sw_batch_size` nor another run changes a bit of the logits, and so of the
    label map. It is also faster: a slice's features fit a processor's cache where a batch's do not. On a GPU batches
    of `sw_batch_size` slices pass. Gradients are not recorded. Of a `MultiDomainUNet` in evaluation mode the norms are
    folded into the convolutions first.

    Args:
        roi_size: rows and columns of the slices; on a CPU they pass whole, so they must be of this size.
        spatial_dim: axis of the volume that slices are stacked along, 0, 1 or 2.
        sw_batch_size: slices of a batch on a GPU; on a CPU the most that are in memory at once.
        domain: of the volumes; it is set on a network that knows domains, before a volume passes. `None` leaves the
            network's own.
        kwargs: of `SliceInferer`.

    Shape:
        inputs (1, C, X, Y, Z), with slices along axis `spatial_dim` of (X, Y, Z); the network takes (N, C, rows,
        columns) and gives (N, channels, rows, columns); result (1, channels, X, Y, Z).

    Raises:
        ValueError: more than one volume, or on a CPU slices of another size than `roi_size`.

    Example:
        >>> inferer = SlicewiseInferer(roi_size=(4, 4), spatial_dim=2, sw_batch_size=16)
        >>> inferer(torch.zeros(1, 1, 4, 4, 9), lambda slices: slices.repeat(1, 3, 1, 1)).shape
        torch.Size([1, 3, 4, 4, 9])
    """

    def __init__(self, *args: Any, domain: str | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.domain = domain

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        """Logits of one volume; further arguments go to the network."""
        network = self._prepare(network)
        with torch.no_grad():
            if inputs.device.type != "cpu":
                return super().__call__(inputs, network, *args, **kwargs)
            logits = self._each_slice(inputs, lambda _, images: network(images, *args, **kwargs))
            # A view of slices, one after another: what restores them to a volume reads them so.
            return torch.stack(logits).movedim(0, self.spatial_dim + 2)

    def classes(
        self,
        inputs: Tensor,
        network: Callable[..., Tensor],
        *,
        size: Sequence[int],
        name: str = "volume",
        expected: ExpectedDice | None = None,
    ) -> Tensor:
        """The likeliest channel of each pixel of one volume, without ever holding the logits of all its slices.

        Args:
            inputs: as for a call.
            network: as for a call.
            size: rows and columns that logits are brought to before; see `preprocessing.classes_at`.
            name: of the volume, for messages.
            expected: takes in the logits of every slice, at the network's resolution; it changes nothing else.

        Returns:
            Channel indices, uint8, on the CPU, shape (1, 1, X, Y, Z) with `size` in the place of the slices' own.

        Raises:
            InputError: logits that are not finite.
        """
        logits_of = partial(_finite_logits, network=self._prepare(network), name=name)
        slices = self._slices(inputs)
        found = torch.empty((len(slices), *size), dtype=torch.uint8)

        def fill(index: int, images: Tensor) -> None:
            logits = logits_of(images)
            if expected is not None:
                expected.add(index, logits)
            found[index : index + len(images)] = classes_at(logits, size)

        with torch.no_grad():
            if inputs.device.type == "cpu":
                self._each_slice(inputs, fill)
            else:
                for index in track(range(0, len(slices), self.sw_batch_size), "batches of slices"):
                    fill(index, slices[index : index + self.sw_batch_size, 0].contiguous())
        return found[None, None].movedim(2, self.spatial_dim + 2)

    def _prepare(self, network: Callable[..., Tensor]) -> Callable[..., Tensor]:
        if self.domain is not None:
            answer_for(network, self.domain)
        if isinstance(network, MultiDomainUNet) and not network.training:
            # A copy for each volume: the weights, or the domain, may be others for the next.
            return fold_network(network)
        return network

    def _slices(self, inputs: Tensor) -> Tensor:
        """Slices of a volume, shape (number, 1, C, rows, columns)."""
        volume = inputs.as_tensor() if isinstance(inputs, MetaTensor) else inputs
        slices = volume.movedim(self.spatial_dim + 2, 0)
        if slices.shape[1] != 1:
            size, shape = list(self.orig_roi_size), list(inputs.shape)
            raise ValueError(f"inputs must be one volume of slices of {size}, got {shape}; give them one by one")
        return slices

    def _each_slice(self, inputs: Tensor, function: Callable[[int, Tensor], Result]) -> list[Result]:
        """What the function makes of each number and slice (1, C, rows, columns), with settings of this thread."""
        slices = self._slices(inputs)
        if tuple(slices.shape[3:]) != tuple(self.orig_roi_size):
            raise ValueError(
                f"inputs must be one volume of slices of {list(self.orig_roi_size)}, got {list(inputs.shape)}; "
                "set roi_size to the size of the slices"
            )
        # Other threads do not know this one's settings.
        amp, dtype = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")

        def apply(index: int) -> Result:
            with torch.no_grad(), torch.autocast("cpu", enabled=amp, dtype=dtype):
                return function(index, slices[index].contiguous())

        return map_exactly(apply, range(len(slices)), most_at_once=self.sw_batch_size, what="slices")


def _finite_logits(images: Tensor, *, network: Callable[[Tensor], Tensor], name: str) -> Tensor:
    logits = network(images)
    if not bool(torch.isfinite(logits).all()):
        raise InputError(f"prediction for {name} must be finite, got NaN or infinity; train again")
    return logits
