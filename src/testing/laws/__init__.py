"""The ten laws: one file each, and each one function that returns where the law holds."""

from .holds_in_training import holds_in_training
from .holds_on_quantised_bases import holds_on_quantised_bases
from .law import Law
from .leaves_no_trace import leaves_no_trace
from .merges import merges
from .resumes import resumes
from .routes_rows import routes_rows
from .says_what_it_is import says_what_it_is
from .starts_from_the_base import starts_from_the_base
from .survives_a_file import survives_a_file
from .trains_only_itself import trains_only_itself

LAWS = tuple(
    Law(number, hold)
    for number, hold in enumerate(
        (
            says_what_it_is,
            starts_from_the_base,
            trains_only_itself,
            survives_a_file,
            leaves_no_trace,
            merges,
            holds_on_quantised_bases,
            holds_in_training,
            routes_rows,
            resumes,
        ),
        start=1,
    )
)
"""What every method promises, in the order in which the promises build on each other."""

__all__ = ["LAWS", "Law"]
