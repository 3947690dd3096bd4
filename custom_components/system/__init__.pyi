from .files import file_digest, write_atomically, write_csv
from .terminal import align_columns, track
from .termination import at_termination

__all__ = ["align_columns", "at_termination", "file_digest", "track", "write_atomically", "write_csv"]
