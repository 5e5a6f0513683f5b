"""The conformance kit: what every method promises, as ten laws that are held on tiny models.

``check`` holds a method to them and gives a table; ``laws_of`` makes a test of each; ``inarch check`` prints the table.
"""

from .conformance import Conformance, Finding, check
from .families import FAMILIES
from .family import Family
from .laws import LAWS, Law
from .laws_of import laws_of
from .verdict import Outcome

__all__ = ["FAMILIES", "LAWS", "Conformance", "Family", "Finding", "Law", "Outcome", "check", "laws_of"]
