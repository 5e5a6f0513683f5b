"""What a report says beside its findings."""

from dataclasses import dataclass

from inarch_benchmarks.comparison.suite import PublishedRow


@dataclass(frozen=True)
class About:
    """What a report says beside its findings.

    Attributes:
        title: Heading of the page.
        description: What the suite shows, in a paragraph.
        command: What repeats it, as typed in a terminal.
        notes: What a reader of its figures must know, such as what tiny models cannot say about large ones.
        date: When it was written, ISO 8601.
        published: Figures of papers, shown beside the suite's own and never mixed with them.
    """

    title: str
    description: str
    command: str
    notes: tuple[str, ...] = ()
    date: str = ""
    published: tuple[PublishedRow, ...] = ()
