"""Step 4: one document an image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from image_labels.layout import split_uri
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
        """Ingest the batch."""
        from image_labels import jsonlines
        from image_labels.ingest import ingest

        bucket, key = split_uri(self.results)
        self.put_down_place(context, key)
        with self.database() as database:
            count = ingest(jsonlines.read(self.s3, bucket, key), database[IMAGES], midnight(day_of(context)))
        self.log.info("%d documents stored", count)
        context["ti"].xcom_push(key="books", value={"ingested": count})
        return count
