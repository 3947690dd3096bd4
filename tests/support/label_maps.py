"""Label maps that hypothesis makes: noise, boxes, lines longer than a machine word, however they lie in memory."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

NUM_CLASSES = 4

maps = arrays(np.uint8, array_shapes(min_dims=3, max_dims=3, max_side=8), elements=st.integers(0, NUM_CLASSES - 1))
sparse_maps = maps.flatmap(lambda labels: arrays(bool, labels.shape).map(lambda kept: labels * kept))


@st.composite
def blocky_maps(draw):
    """Boxes of bone painted over one another: touching, cut by the border, one voxel thin, or absent."""
    labels = np.zeros(draw(st.tuples(*[st.integers(1, 14)] * 3)), np.uint8)
    return draw(painted(labels))


@st.composite
def painted(draw, labels):
    """A copy with up to six more boxes, of bones or of background."""
    labels = labels.copy()
    for _ in range(draw(st.integers(0, 6))):
        low = [draw(st.integers(0, side - 1)) for side in labels.shape]
        box = tuple(slice(start, start + draw(st.integers(1, 7))) for start in low)
        labels[box] = draw(st.integers(0, NUM_CLASSES - 1))
    return labels


@st.composite
def long_maps(draw):
    """Lines of up to 200 voxels, most of one bone, with holes and other bones anywhere."""
    shape = draw(st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(50, 200)))
    labels = np.ones(shape, np.uint8)
    for _ in range(draw(st.integers(1, 8))):
        low = [draw(st.integers(0, side - 1)) for side in shape]
        box = tuple(
            slice(start, start + draw(st.integers(1, size))) for start, size in zip(low, (5, 5, 60), strict=True)
        )
        labels[box] = draw(st.integers(0, NUM_CLASSES - 1))
    return labels


all_maps = st.one_of(maps, sparse_maps, blocky_maps(), long_maps())


@st.composite
def stored_anyhow(draw, labels):
    """The same map with its axes in another order in memory, some backwards, or as every other voxel of an array."""
    order = draw(st.permutations(range(3)))
    step = draw(st.sampled_from([1, 1, 2]))
    memory = np.zeros([step * labels.shape[axis] for axis in order], labels.dtype)
    view = memory[(slice(None, None, step),) * 3].transpose(np.argsort(order))
    view = view[tuple(slice(None, None, draw(st.sampled_from([1, -1]))) for _ in range(3))]
    view[:] = labels
    return view
