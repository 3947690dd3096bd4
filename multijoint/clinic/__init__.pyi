from .dicom import (
    RULE,
    ConvertedExam,
    DicomExam,
    Series,
    check_highdicom,
    choose_series,
    convert_exam,
    find_exams,
    format_exam,
    write_dicom_seg,
)
from .meshes import BONES, BONES_COLUMNS, FORMATS, MeshedCase, check_meshing, find_label_maps, mesh_case
from .pictures import LegendEntry, draw_overlay, read_legend
from .report import write_report
from .viewer import ReviewMarks, ViewedCase, Viewer, find_cases, pair_case

__all__ = [
    "BONES",
    "BONES_COLUMNS",
    "ConvertedExam",
    "DicomExam",
    "FORMATS",
    "LegendEntry",
    "MeshedCase",
    "RULE",
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
