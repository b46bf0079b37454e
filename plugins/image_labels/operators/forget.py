"""One image, deleted everywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from image_labels.operators.base import IMAGES, ImageLabelsOperator, is_true

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context


class ForgetImageOperator(ImageLabelsOperator):
    """Delete an image and all that is known of it, old versions included.

    :param image: its S3 key, or its ``s3://`` address (templated)
    :param dry_run_only: only tell what would be deleted (templated)
    :returns: how many objects were deleted or written anew
    """

    template_fields: Sequence[str] = (*ImageLabelsOperator.template_fields, "image", "dry_run_only")

    def __init__(self, *, image: str, dry_run_only: bool | str = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.image = image
        self.dry_run_only = dry_run_only

    def execute(self, context: Context) -> int:
        """Forget the image."""
        from image_labels.forget import forget

        key = self.image.removeprefix(f"s3://{self.bucket}/")
        dry_run = is_true(self.dry_run_only)
        with self.database() as database:
            touched = forget(key, database[IMAGES], self.s3, self.layout, dry_run=dry_run)
        done = "Would be deleted, or written anew without it" if dry_run else "Deleted, or written anew without it"
        self.log.info("%s:\n%s", done, "\n".join(touched))
        return len(touched)
