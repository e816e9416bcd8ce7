"""What a command assumes of an installation that it can not ask."""

from __future__ import annotations

from typing import Final

CHART_RETENTION_DAYS: Final = 2192  # audit.retentionDays of the chart, unless it is set
