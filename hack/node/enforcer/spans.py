"""Sets of whole numbers (addresses, ports) kept as sorted spans that neither touch nor overlap."""

from collections.abc import Iterable

Span = tuple[int, int]
"""First and last number, both included."""
Spans = tuple[Span, ...]


def union(spans: Iterable[Span]) -> Spans:
    """The same numbers as sorted spans; those that overlap or touch become one."""
    merged: list[Span] = []
    for first, last in sorted(spans):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return tuple(merged)


def subtract(span: Span, holes: Iterable[Span]) -> Spans:
    """What is left of `span` without `holes`, which may overlap each other and reach beyond it."""
    left: list[Span] = []
    start, end = span
    for first, last in union(holes):
        if last < start:
            continue
        if first > end:
            break
        if first > start:
            left.append((start, first - 1))
        start = last + 1
    if start <= end:
        left.append((start, end))
    return tuple(left)


def contains(spans: Spans, number: int) -> bool:
    """Whether the number is in one of the spans."""
    return any(first <= number <= last for first, last in spans)
