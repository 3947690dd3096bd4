from .exams import find_exams
from .export import ConvertedExam, convert_exam
from .seg import check_highdicom, write_dicom_seg
from .series import RULE, DicomExam, Series, choose_series, format_exam

__all__ = [
    "ConvertedExam",
    "DicomExam",
    "RULE",
    "Series",
    "check_highdicom",
    "choose_series",
    "convert_exam",
    "find_exams",
    "format_exam",
    "write_dicom_seg",
]
