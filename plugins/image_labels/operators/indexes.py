"""Step 5: the indexes, made and proven."""

from __future__ import annotations

from typing import TYPE_CHECKING

from image_labels.operators.base import IMAGES, ImageLabelsOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class EnsureIndexesOperator(ImageLabelsOperator):
    """Make the indexes of the collection and prove by ``explain`` that the queries use them; the plans are in the log.

    :returns: the names of the indexes that were made
    """

    operator_extra_links = ()

    def execute(self, context: Context) -> list[str]:
        """Make and prove.

        :raises IndexNotUsed: if a query would scan the collection
        """
        from image_labels.indexes import ensure_and_prove

        with self.database() as database:
            return ensure_and_prove(database[IMAGES])
