"""What a clinician has and looks at."""

from custom_components.clinic.dicom_exams import find_exams
from custom_components.clinic.dicom_export import ConvertedExam, convert_exam
from custom_components.clinic.dicom_seg import check_highdicom, write_dicom_seg
from custom_components.clinic.dicom_series import RULE, Exam, Series, choose_series, format_exam
from custom_components.clinic.overlays import COLORS, draw_overlay

__all__ = [
    "COLORS",
    "ConvertedExam",
    "RULE",
    "Exam",
    "Series",
    "check_highdicom",
    "choose_series",
    "convert_exam",
    "draw_overlay",
    "find_exams",
    "format_exam",
    "write_dicom_seg",
]
