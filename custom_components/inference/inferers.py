"""Inferer that takes a volume slice by slice; on a CPU its result is bit-identical for every number of threads."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from custom_components.data.preprocessing import classes_at
from custom_components.domains import PLANES
from custom_components.errors import InputError
from custom_components.inference.views import answer_views, check_views, choose_views
from custom_components.quality.expected_dice import ExpectedDice
from custom_components.system.terminal import track
from custom_components.system.threads import map_exactly
from monai.data import MetaTensor
from monai.inferers import SliceInferer
from torch import Tensor, nn

if TYPE_CHECKING:
    from custom_components.inference.probability_maps import ProbabilityMaps
    from custom_components.models.trained_model import TrainedModel

_NUM_JUDGED = 8
_BLOCK_PIXELS = 2**15  # that pass the network at once: eight slices of 64 x 64, one of more than 128 x 128


class SlicewiseInferer(SliceInferer):
    """MONAI's `SliceInferer` that computes small blocks of slices, each on one thread, when it runs on a CPU.

    On a CPU the logits, and hence the label map, do not depend on the number of threads, on `sw_batch_size` or on the
    run, to the last bit, since the size and the number of the slices alone say how they are divided into blocks. A
    large slice is a block of its own, because its features then fit into the processor's cache; small ones share a
    pass, because each pass reads all weights. Of slices that are constant, and equal, only one is computed. On a GPU,
    slices pass in batches of `sw_batch_size`. The norms of a `MultiDomainUNet` in evaluation mode are first folded
    into its convolutions, again when its weights have changed; those of three domains are kept. No gradients are
    recorded.

    Args:
        roi_size: rows and columns of the slices; on a CPU the slices must have this size. None takes any.
        spatial_dim: axis of the volume along which slices are stacked, 0, 1 or 2.
        sw_batch_size: slices in a batch on a GPU; largest number of slices in memory on a CPU, but at least a block.
        domain: name of the domain that is set on the network before each volume; `None` sets none.
        views: names of `views.VIEWS` that are averaged with the slice itself, or `views.SAFE`; none for the network's
            plain logits.
        model: the trained model, which knows labels with a side; see `views.choose_views`.
        fixed_channels: last channels of a slice that views leave as they are, those of the position.
        kwargs: those of `SliceInferer`.

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

    def __init__(
        self,
        roi_size: Sequence[int] | None = None,
        *,
        spatial_dim: int = 2,
        domain: str | None = None,
        views: Sequence[str] | str = (),
        model: TrainedModel | None = None,
        fixed_channels: int = 0,
        **kwargs: Any,
    ) -> None:
        check_views(views)
        super().__init__(spatial_dim=spatial_dim, roi_size=(1, 1) if roi_size is None else roi_size, **kwargs)
        self.any_size = roi_size is None
        self.views = views if isinstance(views, str) else tuple(views)
        self.model = model
        self.fixed_channels = fixed_channels
        self.domain = domain
        self._folded: dict[int, tuple[Any, Any]] = {}

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        """Logits of one volume; further arguments go to the network."""
        network = self._prepare(network)
        with torch.no_grad():
            if inputs.device.type != "cpu":
                if self.any_size:
                    self.roi_size = tuple(self._slices(inputs).shape[3:])
                return super().__call__(inputs, network, *args, **kwargs)
            found: dict[int, Tensor] = {}
            # Further arguments may be those of one slice, such as its domain.
            alone = bool(args or kwargs)
            self._each_slice(inputs, lambda images: network(images, *args, **kwargs), found.__setitem__, alone=alone)
            # A view whose memory holds slice after slice, the order in which restoring to a volume reads them.
            return torch.stack([found[index] for index in range(len(found))]).movedim(0, self.spatial_dim + 2)

    def classes(
        self,
        inputs: Tensor,
        network: Callable[..., Tensor],
        *,
        size: Sequence[int],
        name: str = "volume",
        expected: ExpectedDice | None = None,
        maps: ProbabilityMaps | None = None,
        pixel_mm: Sequence[float] = (1.0, 1.0),
        known: Mapping[int, Tensor] | None = None,
        domain: str | None = None,
    ) -> Tensor:
        """Most probable channel of each pixel of one volume; the logits of only a few slices are in memory at a time.

        Args:
            inputs: one volume, as for a call.
            network: the network, as for a call.
            size: rows and columns to which logits are resized first; see `preprocessing.classes_at`.
            name: name of the volume in messages.
            expected: accumulates the logits of every slice at the network's resolution.
            maps: keeps probabilities of every slice in `size`.
            pixel_mm: size of a pixel of the inputs along rows and columns, for views that rotate.
            known: the network's logits (1, channels, rows, columns) of some slices, by their index, which are not
                computed again on a CPU, in float32 and without views.
            domain: name of the domain that is set on the network, in place of the inferer's.

        Returns:
            Channel indices, uint8, on the CPU, shape (1, 1, X, Y, Z) with `size` instead of the slices' own size.

        Raises:
            InputError: logits that are not finite.
        """
        logits_of = partial(_finite_logits, network=self._prepare(network, pixel_mm, domain), name=name)
        slices = self._slices(inputs)
        found = torch.empty((len(slices), *size), dtype=torch.uint8)

        def keep(index: int, logits: Tensor) -> None:
            if expected is not None:
                expected.add(index, logits)
            if maps is not None:
                maps.add(index, logits)
            found[index : index + len(logits)] = classes_at(logits, size)

        with torch.no_grad():
            if inputs.device.type == "cpu":
                if self.views or torch.is_autocast_enabled("cpu"):
                    known = None
                map_exactly(lambda own: keep(own[0], _checked(own[1], name)), list((known or {}).items()))
                self._each_slice(inputs, logits_of, keep, known=known or ())
            else:
                for index in track(range(0, len(slices), self.sw_batch_size), "batches of slices"):
                    keep(index, logits_of(slices[index : index + self.sw_batch_size, 0].contiguous()))
        return found[None, None].movedim(2, self.spatial_dim + 2)

    def _prepare(
        self, network: Callable[..., Tensor], pixel_mm: Sequence[float] = (1.0, 1.0), domain: str | None = None
    ) -> Callable[..., Tensor]:
        # Imported here: with a network of another kind, inference needs none of these modules.
        from custom_components.networks.folding import fold_network
        from custom_components.networks.forwards import answer_for
        from custom_components.networks.means import MeanNetwork
        from custom_components.networks.unet import MultiDomainUNet

        domain = self.domain if domain is None else domain
        if domain is not None:
            answer_for(network, domain)
        if isinstance(network, MultiDomainUNet | MeanNetwork) and not network.training:
            state = _state_of(network)
            current = network.domain
            if state is None or self._folded.get(current, (None,))[0] != state:
                if current not in self._folded and len(self._folded) == len(PLANES):  # those of a data set are kept
                    self._folded.clear()
                folded = network.folded() if isinstance(network, MeanNetwork) else fold_network(network)
                self._folded[current] = state, folded
            network = self._folded[current][1]
        if self.views:
            index = getattr(network, "domain", None)
            domain = None if self.model is None or index is None else self.model.domains[index].name
            views = choose_views(self.views, model=self.model, domain=domain)
            how: Any = {"fixed_channels": self.fixed_channels, "pixel_mm": pixel_mm}
            return partial(answer_views, network, views=views, **how)
        return network

    def _slices(self, inputs: Tensor) -> Tensor:
        """Slices of a volume, shape (number, 1, C, rows, columns)."""
        volume = inputs.as_tensor() if isinstance(inputs, MetaTensor) else inputs
        slices = volume.movedim(self.spatial_dim + 2, 0)
        if slices.shape[1] != 1:
            size, shape = list(self.orig_roi_size), list(inputs.shape)
            raise ValueError(f"inputs must be one volume of slices of {size}, got {shape}; give them one by one")
        return slices

    def _each_slice(
        self,
        inputs: Tensor,
        answer: Callable[[Tensor], Tensor],
        keep: Callable[[int, Tensor], None],
        *,
        alone: bool = False,
        known: Container[int] = (),
    ) -> None:
        """Answer blocks of slices (N, C, rows, columns), under this thread's autocast, and keep that of each slice.

        `keep` takes the index and the answer (1, ...) of a slice, in any order and from several threads; with `alone`,
        each block is one slice. Those whose index is among the `known` are left out.
        """
        slices = self._slices(inputs)
        if not self.any_size and tuple(slices.shape[3:]) != tuple(self.orig_roi_size):
            raise ValueError(
                f"inputs must be one volume of slices of {list(self.orig_roi_size)}, got {list(inputs.shape)}; "
                "set roi_size to the size of the slices"
            )
        # Autocast is a setting of a thread: the threads that compute the slices must be told.
        amp, dtype = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")

        def apply(block: list[list[int]]) -> None:
            with torch.no_grad(), torch.autocast("cpu", enabled=amp, dtype=dtype):
                answers = answer(slices[[same[0] for same in block], 0].contiguous()).split(1)
                for same, own in zip(block, answers, strict=True):
                    for index in same:
                        keep(index, own)

        most = 1 if alone else slices_at_once(slices.shape[3:])
        map_exactly(apply, _blocks(slices, most, known), most_at_once=max(1, self.sw_batch_size // most), what="slices")


def slices_at_once(size: Sequence[int]) -> int:
    """How many slices of so many rows and columns pass the network at once on a CPU.

    Example:
        >>> slices_at_once((64, 64)), slices_at_once((256, 256))
        (8, 1)
    """
    return max(1, _BLOCK_PIXELS // (size[0] * size[1]))


def spread_slices(number: int) -> list[int]:
    """The slices of a scan that are judged: eight of them, evenly spaced, or all.

    Example:
        >>> spread_slices(3), spread_slices(80)
        ([0, 1, 2], [5, 15, 25, 35, 45, 55, 65, 75])
    """
    return sorted({int((place + 0.5) * number / _NUM_JUDGED) for place in range(_NUM_JUDGED)})


def _blocks(slices: Tensor, most: int, known: Container[int]) -> list[list[list[int]]]:
    """Slices (number, 1, C, rows, columns), but the known ones, in blocks of about equal length, at most `most`.

    Returns:
        Blocks of groups of indices; a group is one slice, or all those that are constant and equal.
    """
    low, high = slices.amin(dim=(1, 3, 4)), slices.amax(dim=(1, 3, 4))
    constant = (low == high).all(dim=1).tolist()
    groups: dict[Any, list[int]] = {}
    for index, (is_constant, values) in enumerate(zip(constant, low.tolist(), strict=True)):
        if index not in known:
            groups.setdefault(tuple(values) if is_constant else index, []).append(index)
    count = -(-len(groups) // most)
    each = list(groups.values())
    return [each[len(each) * part // count : len(each) * (part + 1) // count] for part in range(count)]


def _state_of(network: nn.Module) -> tuple[Any, ...] | None:
    """What differs once weights or domain have changed; None if that cannot be told."""
    tensors = [*network.parameters(), *network.buffers()]
    if any(each.is_inference() for each in tensors):
        return None
    # PyTorch counts the writes to a tensor.
    return network, network.domain, [(each.data_ptr(), each._version) for each in tensors]


def _finite_logits(images: Tensor, *, network: Callable[[Tensor], Tensor], name: str) -> Tensor:
    return _checked(network(images), name)


def _checked(logits: Tensor, name: str) -> Tensor:
    if not bool(torch.isfinite(logits).all()):
        raise InputError(f"prediction for {name} must be finite, got NaN or infinity; train again")
    return logits
