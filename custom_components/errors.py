"""The one exception that means "what you gave cannot be used"."""

__all__ = ["InputError"]


class InputError(ValueError):
    """Raised when something the user gave is unusable.

    The message is one line that names the file or value, the rule it breaks and the remedy:
    `<thing> must be <rule>, got <value>; <remedy>`. Commands print it alone, without a traceback.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))
