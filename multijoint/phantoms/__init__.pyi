from .recipes import PHANTOM_DOMAINS
from .writing import write_phantoms

__all__ = ["PHANTOM_DOMAINS", "write_phantoms"]
