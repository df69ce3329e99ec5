"""Counters and histograms for the hot path, of which each delivery moves half a dozen.

prometheus-client's own take a lock for each step and walk through all buckets; here a step is an addition. They are
for one thread, the event loop's, which also reads them.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric

__all__ = ["Counts", "Histogram"]


class Counts(Collector):
    """A counter with one label; the `known` values are there from the start."""

    def __init__(
        self, name: str, documentation: str, label: str, known: Iterable[str], *, registry: CollectorRegistry
    ) -> None:
        self._family = (name, documentation, label)
        self._counts = dict.fromkeys(known, 0)
        registry.register(self)

    def add(self, value: str, count: int = 1) -> None:
        """Count."""
        self._counts[value] = self._counts.get(value, 0) + count

    def collect(self) -> Iterator[Metric]:
        """What a scrape gets."""
        name, documentation, label = self._family
        family = CounterMetricFamily(name, documentation, labels=[label])
        for value, count in self._counts.items():
            family.add_metric([value], count)
        yield family


class Histogram(Collector):
    """A histogram, with one label or none. `bounds` are inclusive and rise."""

    def __init__(
        self,
        name: str,
        documentation: str,
        *,
        bounds: Sequence[float],
        registry: CollectorRegistry,
        label: str | None = None,
    ) -> None:
        self._family = (name, documentation, label)
        self._bounds = tuple(bounds)
        self._series: dict[str, _Series] = {}
        if label is None:
            self._series[""] = _Series(len(bounds))
        registry.register(self)

    def observe(self, amount: float, value: str = "") -> None:
        """Count an amount, under the label's `value` if there is a label."""
        series = self._series.get(value)
        if series is None:
            series = self._series[value] = _Series(len(self._bounds))
        series.counts[bisect_left(self._bounds, amount)] += 1
        series.total += amount

    def collect(self) -> Iterator[Metric]:
        """What a scrape gets."""
        name, documentation, label = self._family
        family = HistogramMetricFamily(name, documentation, labels=[] if label is None else [label])
        for value, series in self._series.items():
            family.add_metric([] if label is None else [value], self._cumulated(series), series.total)
        yield family

    def _cumulated(self, series: _Series) -> list[tuple[str, float]]:
        buckets = []
        count = 0
        for bound, here in zip((*self._bounds, float("inf")), series.counts, strict=True):
            count += here
            buckets.append((floatToGoString(bound), float(count)))  # type: ignore[no-untyped-call]
        return buckets


class _Series:
    """Amounts by the first bound that is not below them, one place more for those beyond, and their sum."""

    __slots__ = ("counts", "total")

    def __init__(self, bounds: int) -> None:
        self.counts = [0] * (bounds + 1)
        self.total = 0.0
