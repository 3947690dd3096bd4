"""The one exception that means "what you gave cannot be used"."""

from __future__ import annotations

__all__ = ["InputError", "find_cause"]


class InputError(ValueError):
    """Raised when something the user gave is unusable.

    The message is one line that names the file or value, the rule it breaks and the remedy:
    `<thing> must be <rule>, got <value>; <remedy>`. Commands print it alone, without a traceback.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


def find_cause(error: BaseException, *kinds: type[BaseException]) -> BaseException | None:
    """The first exception of the given kinds in `error`'s chain of causes, itself included.

    MONAI wraps whatever a component raises in a RuntimeError of its own.

    Example:
        >>> try:
        ...     try:
        ...         raise InputError("scan.nii must be a volume")
        ...     except InputError as error:
        ...         raise RuntimeError("Failed to instantiate") from error
        ... except RuntimeError as error:
        ...     print(find_cause(error, InputError))
        scan.nii must be a volume
    """
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, kinds):
        cause = cause.__cause__ or cause.__context__
    return cause
