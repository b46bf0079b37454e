"""Step 6: what the collection shows, for analysts."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from image_labels.operators.base import IMAGES, ImageLabelsOperator, day_of, midnight

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    import pyarrow as pa
    from airflow.sdk import Context

TABLE = "label_frequency"


class ExportLabelFrequencyOperator(ImageLabelsOperator):
    """Export the label frequencies of the day and of the whole collection to Parquet in S3, with a chart.

    The database counts; the worker holds one row for each label and threshold. Whatever the day brought, its partition
    is written, and written anew by a second run.

    :param thresholds: confidences in percent for which labels are counted (templated)
    :returns: the address of the Parquet file
    """

    template_fields: Sequence[str] = (*ImageLabelsOperator.template_fields, "thresholds")
    template_fields_renderers = {"thresholds": "json"}  # noqa: RUF012 - Airflow's own way

    def __init__(self, *, thresholds: Sequence[float] | str = (50, 70, 90), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.thresholds = thresholds

    def execute(self, context: Context) -> str:
        """Count, write and tell Airflow's assets."""
        from image_labels import charts, frequencies
        from image_labels.documents import STAMPS, version

        day = day_of(context)
        self.put_down_place(context, self._key(day, "html"))
        thresholds = sorted({float(value) for value in self.thresholds})
        with self.database() as database:
            collection = database[IMAGES]
            counted = {"of": version(collection), "thresholds": thresholds, "schema": frequencies.SCHEMA_VERSION}
            last = database[STAMPS].find_one({"_id": TABLE, **counted})
            known = self._read(last["key"]) if last else None
            images = collection.estimated_document_count()
            table = frequencies.label_frequency(collection, midnight(day), thresholds, known)
            parquet = io.BytesIO()
            frequencies.write_parquet(table, parquet)
            chart = charts.label_chart(table, day, images)
            self._put(day, "html", chart.html, "text/html; charset=utf-8")
            self._put(day, "png", chart.png, "image/png")
            self._put(day, "parquet", parquet.getvalue(), "application/vnd.apache.parquet")
            entry = {"_id": TABLE, **counted, "key": self._key(day, "parquet")}
            database[STAMPS].replace_one({"_id": TABLE}, entry, upsert=True)
        uri = self.layout.uri(self._key(day, "parquet"))
        self.log.info(
            "%d rows over %d images written to %s%s",
            table.num_rows, images, uri, "; no image has changed since the last report" if known else "",
        )  # fmt: skip
        for outlet in self.outlets:
            context["outlet_events"][outlet].extra = {"uri": uri, "rows": table.num_rows, "images": images}
        return uri

    def _key(self, day: date, ending: str) -> str:
        return self.layout.report(TABLE, day, f"{TABLE}.{ending}")

    def _put(self, day: date, ending: str, content: bytes, content_type: str) -> None:
        key = self._key(day, ending)
        self.s3.put_object(Bucket=self.layout.bucket, Key=key, Body=content, ContentType=content_type)

    def _read(self, key: str) -> pa.Table | None:
        """Return an earlier report; None if somebody has deleted it."""
        import pyarrow.parquet as pq

        try:
            return pq.read_table(io.BytesIO(self.s3.get_object(Bucket=self.layout.bucket, Key=key)["Body"].read()))
        except self.s3.exceptions.NoSuchKey:
            return None
