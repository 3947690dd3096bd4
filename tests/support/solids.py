"""Masks to make surfaces of, their affines, and what VTK, which makes none of them, says of a surface."""

from itertools import permutations, product

import numpy as np
from scipy.spatial.transform import Rotation
from vtkmodules.util.numpy_support import numpy_to_vtk, numpy_to_vtkIdTypeArray, vtk_to_numpy
from vtkmodules.vtkCommonCore import vtkPoints
from vtkmodules.vtkCommonDataModel import vtkCellArray, vtkPolyData
from vtkmodules.vtkFiltersCore import vtkFeatureEdges, vtkImplicitPolyDataDistance, vtkMassProperties
from vtkmodules.vtkFiltersCore import vtkPolyDataConnectivityFilter as Connectivity


def masks() -> dict[str, np.ndarray]:
    """Bones of every unpleasant kind."""
    made = {name: np.zeros((9, 10, 11), bool) for name in ("voxel", "rod", "plate", "diagonal", "two", "corner")}
    made["voxel"][4, 4, 4] = True
    made["rod"][4, 4, 2:9] = True
    made["plate"][4, 2:9, 2:9] = True
    made["diagonal"][range(2, 8), range(2, 8), range(2, 8)] = True
    made["two"][1:4, 1:4, 1:4] = made["two"][5:8, 5:9, 5:10] = True
    made["corner"][:4, 6:, :5] = True
    made["all"] = np.ones((4, 5, 6), bool)
    made["one voxel volume"] = np.ones((1, 1, 1), bool)
    x, y, z = np.indices((30, 30, 30)) - 14.2
    made["ball"] = x**2 + y**2 + z**2 < 11**2
    made["shell"] = made["ball"] & (x**2 + y**2 + z**2 > 8**2)
    made["cut ball"] = made["ball"][:20, 8:]
    made["scapula"] = (np.abs(0.3 * x + 0.2 * y + 0.93 * z) < 0.7) & (np.abs(x) + np.abs(y) < 12)
    made["shaft"] = (x + 0.3 * z) ** 2 + (y - 0.1 * z) ** 2 < 6**2
    made["noise"] = np.random.default_rng(0).random((9, 9, 9)) < 0.4
    return made


def affines() -> dict[str, np.ndarray]:
    """Voxel index -> RAS+ position: thick slices, oblique, left-handed, sheared."""
    turned = Rotation.from_euler("xyz", [25, -35, 40], degrees=True).as_matrix()
    linear = {
        "unit": np.eye(3),
        "thick": np.diag([0.9, 0.9, 2.7]),
        "oblique": turned @ np.diag([0.8, 0.8, 3.0]),
        "left-handed": turned @ np.diag([-0.7, 1.1, 2.0]),
        "sheared": turned @ np.array([[0.8, 0.3, 0], [0, 1, 0.4], [0, 0, 2]]),
    }
    made = {}
    for name, matrix in linear.items():
        made[name] = np.eye(4)
        made[name][:3] = np.column_stack([matrix, [-31.0, 12.5, 80.0]])
    return made


def axis_orders(array: np.ndarray, affine: np.ndarray):
    """The same volume in the 48 orders in which a file may store it."""
    for order, flips in product(permutations(range(3)), product([1, -1], repeat=3)):
        matrix = np.zeros((4, 4))
        matrix[3, 3] = 1
        for axis, (source, flip) in enumerate(zip(order, flips, strict=True)):
            matrix[source, axis] = flip
            matrix[source, 3] = 0 if flip == 1 else array.shape[source] - 1
        yield array.transpose(order)[tuple(slice(None, None, flip) for flip in flips)], affine @ matrix


def polydata(vertices: np.ndarray, faces: np.ndarray) -> vtkPolyData:
    points, cells = vtkPoints(), vtkCellArray()
    points.SetData(numpy_to_vtk(np.ascontiguousarray(vertices, np.float64), deep=True))
    cells.SetData(faces.shape[1], numpy_to_vtkIdTypeArray(faces.astype(np.int64).ravel(), deep=True))
    data = vtkPolyData()
    data.SetPoints(points)
    data.SetPolys(cells)
    return data


def num_bad_edges(surface: vtkPolyData) -> int:
    """Edges of one face only, or of more than two."""
    edges = vtkFeatureEdges()
    edges.SetInputData(surface)
    edges.FeatureEdgesOff()
    edges.ManifoldEdgesOff()
    edges.BoundaryEdgesOn()
    edges.NonManifoldEdgesOn()
    edges.Update()
    return edges.GetOutput().GetNumberOfCells()


def mass(surface: vtkPolyData) -> tuple[float, float]:
    """Volume and area."""
    properties = vtkMassProperties()
    properties.SetInputData(surface)
    properties.Update()
    return properties.GetVolume(), properties.GetSurfaceArea()


def num_regions(surface: vtkPolyData) -> int:
    regions = Connectivity()
    regions.SetInputData(surface)
    regions.SetExtractionModeToAllRegions()
    regions.Update()
    return regions.GetNumberOfExtractedRegions()


def signed_distances(surface: vtkPolyData, points: np.ndarray) -> np.ndarray:
    """Of points to a surface, negative inside."""
    distance = vtkImplicitPolyDataDistance()
    distance.SetInput(surface)
    result = numpy_to_vtk(np.zeros(len(points)), deep=True)
    distance.FunctionValue(numpy_to_vtk(np.ascontiguousarray(points, np.float64), deep=True), result)
    return vtk_to_numpy(result).copy()


def voxel_faces(mask: np.ndarray) -> vtkPolyData:
    """The surface of a mask as it is: the squares between its voxels and others, in voxels."""
    padded = np.pad(mask, 1)
    squares = []
    for axis in range(3):
        across = np.eye(3)[[other for other in range(3) if other != axis]] / 2
        corners = np.array(
            [-across[0] - across[1], across[0] - across[1], across[0] + across[1], -across[0] + across[1]]
        )
        between = np.argwhere(np.diff(padded, axis=axis)) - 1 + np.eye(3)[axis] / 2
        squares.append(between[:, None] + corners)
    vertices = np.concatenate(squares).reshape(-1, 3)
    return polydata(vertices, np.arange(len(vertices)).reshape(-1, 4))
