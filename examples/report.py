"""A report over a file that is deployed with the code."""

import csv
from collections import defaultdict
from decimal import Decimal
from pathlib import Path
from typing import Any

from crossfade import Context, task

_SALES = Path(__file__).with_name("sales.csv")


@task(id="sales-report", machine="small-1x")
def sales_report(payload: dict[str, Any] | None, ctx: Context) -> dict[str, Any]:
    """Add up the bundled sales, of all regions or of `{"region": "north"}`."""
    wanted = (payload or {}).get("region")
    revenue: dict[str, Decimal] = defaultdict(Decimal)
    count = 0
    with _SALES.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if wanted in {None, row["region"]}:
                revenue[row["product"]] += int(row["units"]) * Decimal(row["unit_price"])
                count += 1
    if not count:
        raise ValueError(f"no sales in region {wanted!r}")
    ctx.metadata.set("rows", count)
    best = max(revenue, key=lambda product: revenue[product])
    return {
        "rows": count,
        "revenue": {product: str(total) for product, total in sorted(revenue.items())},
        "total": str(sum(revenue.values())),
        "best": best,
    }
