import numpy as np
from custom_components.io.planes import bone_areas, find_planes, take_plane
from hypothesis import given
from hypothesis import strategies as st
from support.label_maps import NUM_CLASSES, maps, stored_anyhow


@given(st.data())
def test_areas_are_those_counted_slice_by_slice_however_the_map_lies_in_memory(data: st.DataObject) -> None:
    labels = data.draw(stored_anyhow(data.draw(maps)))
    for value, areas in bone_areas(labels, range(1, NUM_CLASSES)).items():
        for axis, counts in enumerate(areas):
            others = tuple(k for k in range(3) if k != axis)
            assert counts.tolist() == (labels == value).sum(axis=others).tolist()


def test_planes_go_through_the_middle_of_a_bone() -> None:
    labels = np.zeros((20, 30, 40), np.uint8)
    labels[2:9, 20:25, 10:31] = 1
    assert find_planes(labels.shape, bone_areas(labels, [1])) == (5, 22, 20)


def test_without_a_bone_they_are_the_middle_ones() -> None:
    labels = np.zeros((20, 30, 41), np.uint8)
    assert find_planes(labels.shape, bone_areas(labels, [1])) == (10, 15, 20)


def test_a_bone_that_only_the_reference_has_is_shown() -> None:
    labels, reference = np.zeros((2, 30, 30, 30), np.uint8)
    labels[5:25, 5:25, 2:10] = reference[5:25, 5:25, 2:10] = 1
    reference[8:11, 8:11, 6] = 2
    x, y, z = find_planes(labels.shape, bone_areas(labels, [1, 2]), bone_areas(reference, [1, 2]))
    assert reference[x, y, z] in (1, 2)
    assert (reference[:, :, z] == 2).any()
    assert (reference[x] == 2).any()


def test_the_patients_right_and_front_are_at_the_left() -> None:
    x, y, z = np.mgrid[:3, :4, :5]
    for axis, (across, upwards) in enumerate([(y, z), (x, z), (x, y)]):
        for coordinate, along in ((across, 1), (upwards, 0)):
            steps = np.diff(take_plane(coordinate, axis, 1), axis=along)
            assert (steps == -1).all()  # from the right to the left of the patient, from the top down
