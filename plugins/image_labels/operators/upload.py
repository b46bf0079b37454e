"""Step 2: from the landing place into S3."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from image_labels.documents import Settings
from image_labels.operators.base import IMAGES, RUNS, ImageLabelsOperator, day_of, is_true, open_landing, optional

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context


class UploadImagesOperator(ImageLabelsOperator):
    """Upload the files that :class:`~image_labels.sensors.new_images.NewImagesSensor` saw, and plan the batches.

    Each file is looked at by its content, never by its name. What is no image, or none that can be saved, is listed
    with its reason and stops nothing. What S3 has unchanged is not put again; what Rekognition does not take gets a
    rendition.

    :param landing: the landing place; ``{{ ds }}`` in it stands for the day (templated)
    :param min_confidence: what will be asked of Rekognition, in percent (templated)
    :param max_labels: what will be asked of Rekognition (templated)
    :param batch_size: images a batch (templated)
    :param max_images: calls of Rekognition that the run may make; what is left is the next run's (templated)
    :param max_spend_usd: US dollars that the run may cost; likewise (templated)
    :param price_per_thousand: US dollars for a thousand calls (templated)
    :param max_failure_share: share of refused files that is accepted, 0 to 1 (templated)
    :param forecast_only: look at everything, upload and plan nothing (templated)
    :returns: the addresses of the manifests, one a batch
    """

    template_fields: Sequence[str] = (
        *ImageLabelsOperator.template_fields,
        "landing",
        "min_confidence",
        "max_labels",
        "batch_size",
        "max_images",
        "max_spend_usd",
        "price_per_thousand",
        "max_failure_share",
        "forecast_only",
    )

    def __init__(
        self,
        *,
        landing: str,
        min_confidence: float = 50,
        max_labels: int = 100,
        batch_size: int = 500,
        max_images: int | None = None,
        max_spend_usd: float | None = None,
        price_per_thousand: float = 1.0,
        max_failure_share: float = 0.2,
        forecast_only: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.landing = landing
        self.min_confidence = min_confidence
        self.max_labels = max_labels
        self.batch_size = batch_size
        self.max_images = max_images
        self.max_spend_usd = max_spend_usd
        self.price_per_thousand = price_per_thousand
        self.max_failure_share = max_failure_share
        self.forecast_only = forecast_only

    def execute(self, context: Context) -> list[str]:
        """Upload and plan.

        :raises TooManyRefused: if a larger share of the files than accepted is refused
        """
        from image_labels import indexes
        from image_labels.errors import check_share
        from image_labels.ingest import recover
        from image_labels.intake import Budget, Intake

        run = self.run_layout(context)
        self.put_down_place(context, run.manifests)
        with self.database() as database:
            repeated = database[RUNS].find_one({"_id": run.run_id}) is not None
            if not is_true(self.forecast_only):
                indexes.ensure(database[IMAGES], (indexes.CONTENT_INDEX,))
                if recovered := recover(database[RUNS], database[IMAGES], self.s3, self.layout, run.run_id):
                    self.log.info("%d answers of runs that did not end were stored", recovered)
                self.open_run(database, context)
            intake = Intake(
                run=run,
                landing=open_landing(self.landing, day_of(context), self.layout, self.aws_conn_id),
                settings=Settings(float(self.min_confidence), int(self.max_labels)),
                batch_size=int(self.batch_size),
                budget=Budget(optional(self.max_images), optional(self.max_spend_usd), float(self.price_per_thousand)),
                day=day_of(context),
                repeated=repeated,
                dry_run=is_true(self.forecast_only),
                s3=self.s3,
                collection=database[IMAGES],
            )
            manifests = intake.upload()
        self.log.info("Books: %s", asdict(intake.books))
        context["ti"].xcom_push(key="books", value=asdict(intake.books))
        looked_at = intake.books.sensed - intake.books.carried
        check_share(intake.books.quarantined, looked_at, float(self.max_failure_share), "The upload")
        return manifests
