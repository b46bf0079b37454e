"""Step 4: one document an image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from image_labels.layout import batch_number, split_uri
from image_labels.operators.base import IMAGES, ImageLabelsOperator, day_of, midnight

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context


class IngestLabelsOperator(ImageLabelsOperator):
    """Store a batch's answers in DocumentDB, one document an image, in place of what was there under its key.

    :param results: address of the batch's raw answers (templated)
    :returns: how many documents
    """

    template_fields: Sequence[str] = (*ImageLabelsOperator.template_fields, "results")

    def __init__(self, *, results: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.results = results

    def execute(self, context: Context) -> int:
        """Ingest the batch, and before it what it was answered while it had other images."""
        from image_labels import jsonlines
        from image_labels.ingest import ingest

        bucket, key = split_uri(self.results)
        earlier = self.run_layout(context).earlier(batch_number(self.results))
        day = midnight(day_of(context))
        self.put_down_place(context, key)
        with self.database() as database:
            # Paid for, so that it is known when it comes again; the results are in the place of what is in both.
            ingest(jsonlines.read_if_there(self.s3, bucket, earlier), database[IMAGES], day)
            count = ingest(jsonlines.read(self.s3, bucket, key), database[IMAGES], day)
        self.log.info("%d documents stored", count)
        context["ti"].xcom_push(key="books", value={"ingested": count})
        return count
