"""What a clinician has and looks at."""

from multijoint.clinic.dicom.exams import find_exams
from multijoint.clinic.dicom.export import ConvertedExam, convert_exam
from multijoint.clinic.dicom.seg import check_highdicom, write_dicom_seg
from multijoint.clinic.dicom.series import RULE, Exam, Series, choose_series, format_exam
from multijoint.clinic.meshes.files import FORMATS
from multijoint.clinic.meshes.meshing import MeshedCase, check_meshing, find_label_maps, mesh_case
from multijoint.clinic.meshes.shapes import BONES, BONES_COLUMNS
from multijoint.clinic.pictures.legend import LegendEntry, read_legend
from multijoint.clinic.pictures.overlays import draw_overlay
from multijoint.clinic.report.report import write_report
from multijoint.clinic.viewer.cases import ViewedCase, find_cases, pair_case
from multijoint.clinic.viewer.review_marks import ReviewMarks
from multijoint.clinic.viewer.viewer import Viewer

__all__ = [
    "BONES",
    "BONES_COLUMNS",
    "FORMATS",
    "RULE",
    "ConvertedExam",
    "Exam",
    "LegendEntry",
    "MeshedCase",
    "ReviewMarks",
    "Series",
    "ViewedCase",
    "Viewer",
    "check_highdicom",
    "check_meshing",
    "choose_series",
    "convert_exam",
    "draw_overlay",
    "find_cases",
    "find_exams",
    "find_label_maps",
    "format_exam",
    "mesh_case",
    "pair_case",
    "read_legend",
    "write_dicom_seg",
    "write_report",
]
