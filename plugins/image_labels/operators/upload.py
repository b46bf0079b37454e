"""Step 2: from the landing place into S3."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from image_labels.documents import Settings
from image_labels.layout import batch_number
from image_labels.operators.base import CLAIMS, IMAGES, ImageLabelsOperator, day_of, is_true, open_landing, optional

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context

MOST_NICE = 19
"""The lowest priority that a process can have."""


class UploadImagesOperator(ImageLabelsOperator):
    """Upload a batch of what :class:`~image_labels.sensors.new_images.NewImagesSensor` saw, and plan its analysis.

    Each file is looked at by its content, never by its name. What is no image, or none that can be saved, is listed
    with its reason and stops nothing. What S3 has unchanged is not put again; what Rekognition does not take gets a
    rendition.

    :param files: address of the list of the batch's files (templated)
    :param landing: the landing place; ``{{ ds }}`` in it stands for the day (templated)
    :param min_confidence: what will be asked of Rekognition, in percent (templated)
    :param max_labels: what will be asked of Rekognition (templated)
    :param max_images: calls of Rekognition that the run may make; what is left is the next run's (templated)
    :param max_spend_usd: US dollars that the run may cost; likewise (templated)
    :param price_per_thousand: US dollars for a thousand calls (templated)
    :param forecast_only: look at everything, upload and plan nothing (templated)
    :returns: the address of the manifest; None if there is nothing to analyse
    """

    template_fields: Sequence[str] = (
        *ImageLabelsOperator.template_fields,
        "files",
        "landing",
        "min_confidence",
        "max_labels",
        "max_images",
        "max_spend_usd",
        "price_per_thousand",
        "forecast_only",
    )

    def __init__(
        self,
        *,
        files: str,
        landing: str,
        min_confidence: float = 50,
        max_labels: int = 100,
        max_images: int | None = None,
        max_spend_usd: float | None = None,
        price_per_thousand: float = 1.0,
        forecast_only: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.files = files
        self.landing = landing
        self.min_confidence = min_confidence
        self.max_labels = max_labels
        self.max_images = max_images
        self.max_spend_usd = max_spend_usd
        self.price_per_thousand = price_per_thousand
        self.forecast_only = forecast_only

    def pre_execute(self, context: Context) -> None:
        """Let what is further on go first where the worker is short of processors: uploads are ahead of the quota."""
        super().pre_execute(context)
        os.setpriority(os.PRIO_PROCESS, 0, min(4 + 4 * (context["ti"].map_index or 0), MOST_NICE))

    def execute(self, context: Context) -> str | None:
        """Upload and plan."""
        from image_labels.claims import Budget, Claims
        from image_labels.intake import Intake

        run = self.run_layout(context)
        number = batch_number(self.files)
        dry_run = is_true(self.forecast_only)
        settings = Settings(float(self.min_confidence), int(self.max_labels))
        self.put_down_place(context, run.manifest(number))
        with self.database() as database:
            claims = Claims(
                collection=database[CLAIMS],
                run_id=run.run_id,
                batch=number,
                budget=Budget(optional(self.max_images), optional(self.max_spend_usd), float(self.price_per_thousand)),
                scope=run.run_id if dry_run else str(settings),
            )
            intake = Intake(
                run=run,
                number=number,
                landing=open_landing(self.landing, day_of(context), self.layout, self.aws_conn_id),
                settings=settings,
                claims=claims,
                day=day_of(context),
                dry_run=dry_run,
                s3=self.s3,
                collection=database[IMAGES],
            )
            manifest = intake.upload()
        self.log.info("Books: %s", asdict(intake.books))
        context["ti"].xcom_push(key="books", value=asdict(intake.books))
        return manifest
