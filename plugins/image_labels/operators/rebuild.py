"""From the raw answers in S3 to the collection, without Rekognition."""

from __future__ import annotations

from typing import TYPE_CHECKING

from image_labels.operators.base import IMAGES, ImageLabelsOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class RebuildCollectionOperator(ImageLabelsOperator):
    """Store the documents of all raw answers that the pipeline has kept in S3. Rekognition is not called.

    :returns: how many documents were stored
    """

    def execute(self, context: Context) -> int:
        """Rebuild the collection."""
        from image_labels import indexes
        from image_labels.ingest import rebuild

        self.put_down_place(context, self.layout.results)
        with self.database() as database:
            indexes.ensure(database[IMAGES])
            return rebuild(database[IMAGES], self.s3, self.layout)
