"""Step 3: what is in the images."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from image_labels.documents import Settings
from image_labels.layout import batch_number
from image_labels.operators.base import IMAGES, LIMITS, ImageLabelsOperator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context
    from mypy_boto3_rekognition import RekognitionClient


class DetectLabelsOperator(ImageLabelsOperator):
    """Ask Amazon Rekognition what is in the images of a batch, as fast as the quota allows and never twice.

    .. seealso:: https://docs.aws.amazon.com/rekognition/latest/APIReference/API_DetectLabels.html

    :param manifest: address of the batch's manifest; without one the task is skipped (templated)
    :param min_confidence: labels below it are not returned, in percent (templated)
    :param max_labels: at most so many labels an image (templated)
    :param quota: transactions a second that the account may make in the region; all batches that run at the same time
        share it (templated)
    :param price_per_thousand: US dollars for a thousand calls, for the progress (templated)
    :param max_failure_share: share of refused images that is accepted, 0 to 1 (templated)
    :returns: the address of the batch's raw answers
    """

    template_fields: Sequence[str] = (
        *ImageLabelsOperator.template_fields,
        "manifest",
        "min_confidence",
        "max_labels",
        "quota",
        "price_per_thousand",
        "max_failure_share",
    )

    def __init__(
        self,
        *,
        manifest: str | None,
        min_confidence: float = 50,
        max_labels: int = 100,
        quota: float = 5,
        price_per_thousand: float = 1.0,
        max_failure_share: float = 0.2,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.manifest = manifest
        self.min_confidence = min_confidence
        self.max_labels = max_labels
        self.quota = quota
        self.price_per_thousand = price_per_thousand
        self.max_failure_share = max_failure_share

    def execute(self, context: Context) -> str:
        """Analyse the batch.

        :raises NotAllowed: if Rekognition denies access
        :raises TooManyRefused: if a larger share of the images than accepted is refused
        :raises AirflowSkipException: if there is nothing to analyse
        """
        from image_labels.analysis import CALLS_IN_FLIGHT, Batch
        from image_labels.hooks.rekognition import RekognitionHook
        from image_labels.limiter import SharedRate, clock_of

        if not self.manifest:
            raise AirflowSkipException("The batch holds nothing to analyse")
        run = self.run_layout(context)
        number = batch_number(self.manifest)
        self.put_down_place(context, run.result(number))
        rekognition: RekognitionClient = RekognitionHook(
            aws_conn_id=self.aws_conn_id, connections=CALLS_IN_FLIGHT
        ).get_conn()
        with self.database() as database:
            name = f"rekognition:{rekognition.meta.region_name}"
            batch = Batch(
                run=run,
                number=number,
                opened_at=self.open_run(database, context).isoformat(),
                settings=Settings(float(self.min_confidence), int(self.max_labels)),
                s3=self.s3,
                rekognition=rekognition,
                collection=database[IMAGES],
                rate=SharedRate(database[LIMITS], name, float(self.quota), clock_of(database)),
                quota=float(self.quota),
                price_per_thousand=float(self.price_per_thousand),
                max_failure_share=float(self.max_failure_share),
            )
            books = batch.analyse()
        self.log.info("Books: %s", asdict(books))
        context["ti"].xcom_push(key="books", value=asdict(books))
        return self.layout.uri(run.result(number))
