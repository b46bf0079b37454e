"""Step 6: what the collection shows, for analysts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from image_labels.operators.base import IMAGES, RUNS, ImageLabelsOperator, day_of, is_true, midnight
from image_labels.tables import LABEL_FREQUENCY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context


class ExportReportsOperator(ImageLabelsOperator):
    """Export the tables about a day's images, and the label frequencies of all images up to it, to Parquet in S3.

    The database counts, and only what has changed since the last report; the day's images come as a stream. Readers
    see the report when it is whole and has been verified. Whatever the day brought, its partition is written, and
    written anew by a second run. An asset among the task's ``outlets`` that has a table's name tells of that table.

    :param thresholds: confidences in percent for which labels are counted (templated)
    :param recount: whether to count all images anew rather than what has changed (templated)
    :returns: the address of the label frequencies
    """

    template_fields: Sequence[str] = (*ImageLabelsOperator.template_fields, "thresholds", "recount")
    template_fields_renderers = {"thresholds": "json"}  # noqa: RUF012 - Airflow's own way

    def __init__(
        self, *, thresholds: Sequence[float] | str = (50, 70, 90), recount: bool | str = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.thresholds = thresholds
        self.recount = recount

    def execute(self, context: Context) -> str:
        """Count, write, verify, publish, and tell Airflow's assets."""
        from image_labels import frequencies
        from image_labels.publication import PAGE
        from image_labels.reports import DayReport

        day = day_of(context)
        self.put_down_place(context, self.layout.report(PAGE, day, "report.html"))
        thresholds = frequencies.checked(sorted({float(value) for value in self.thresholds}))
        with self.database() as database:
            runs = list(database[RUNS].find({"logical_date": midnight(day)}))
            for run in runs:
                if run["_id"] == context["dag_run"].run_id:
                    run["books"] = self.books_so_far(context)
            report = DayReport(database[IMAGES], self.s3, self.layout, day, thresholds)
            rows = report.make(runs, recount=is_true(self.recount))
        self.log.info("Rows of the report of %s: %s", day, rows)
        self.tell_assets(context, rows)
        return self.layout.uri(self.layout.report(LABEL_FREQUENCY.name, day, f"{LABEL_FREQUENCY.name}.parquet"))
