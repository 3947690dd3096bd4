"""What a clinician has and looks at."""

from custom_components.clinic.bone_shapes import BONES, BONES_COLUMNS
from custom_components.clinic.dicom_exams import find_exams
from custom_components.clinic.dicom_export import ConvertedExam, convert_exam
from custom_components.clinic.dicom_seg import check_highdicom, write_dicom_seg
from custom_components.clinic.dicom_series import RULE, Exam, Series, choose_series, format_exam
from custom_components.clinic.legend import LegendEntry, read_legend
from custom_components.clinic.mesh_files import FORMATS
from custom_components.clinic.meshes import MeshedCase, check_meshing, find_label_maps, mesh_case
from custom_components.clinic.overlays import draw_overlay
from custom_components.clinic.report import write_report
from custom_components.clinic.review_marks import ReviewMarks
from custom_components.clinic.viewed_cases import ViewedCase, find_cases, pair_case
from custom_components.clinic.viewer import Viewer

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
