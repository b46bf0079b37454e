-- Written by `make docs` from plugins/image_labels/tables.py: the reports' tables for Amazon Athena.
--
-- Fill in the pipeline's bucket and prefix, and where reports go further back their first day in place of 2026-01-01:
--     sed 's/BUCKET/my-bucket/; s/PREFIX/image-labels/' include/athena/tables.sql
-- Athena runs one statement at a time. New days need no further statement: it works out the partitions itself.

-- label_frequency: How many images show a label, for each scope and confidence threshold.
CREATE EXTERNAL TABLE IF NOT EXISTS `label_frequency` (
  `scope` string COMMENT 'Which images: those of this data interval ("day"), or all up to and including it ("all")',
  `min_confidence` double COMMENT 'Threshold in percent; only labels at or above it count in this row',
  `label` string COMMENT 'Name of the label as Rekognition gave it',
  `images` bigint COMMENT 'Images with the label; one that has it several times counts once',
  `instances` bigint COMMENT 'Objects of the label that were located in these images',
  `share` double COMMENT 'images divided by all images of the scope, 0 to 1',
  `mean_confidence` double COMMENT 'Mean confidence of the label in percent, to 4 decimals',
  `max_confidence` double COMMENT 'Highest confidence of the label in percent',
  `model_versions` array<string> COMMENT 'Versions of Rekognition’s label model that saw it, sorted'
)
PARTITIONED BY (`report_date` string COMMENT 'Day of the report, YYYY-MM-DD')
STORED AS PARQUET
LOCATION 's3://BUCKET/PREFIX/reports/label_frequency/'
TBLPROPERTIES (
  'projection.enabled' = 'true',
  'projection.report_date.type' = 'date',
  'projection.report_date.format' = 'yyyy-MM-dd',
  'projection.report_date.range' = '2026-01-01,NOW',
  'storage.location.template' = 's3://BUCKET/PREFIX/reports/label_frequency/report_date=${report_date}/',
  'schema_version' = '1'
);

-- group_frequency: How many images show a group of labels: old and new names as one, a label and all below it, or a category.
CREATE EXTERNAL TABLE IF NOT EXISTS `group_frequency` (
  `scope` string COMMENT 'Which images: those of this data interval ("day"), or all up to and including it ("all")',
  `min_confidence` double COMMENT 'Threshold in percent; only labels at or above it count in this row',
  `grouping` string COMMENT '"label": names that have become aliases of another (Human) count as that one (Person); "label_with_children": moreover, a label that has this one as a parent counts as this one (a Dog is an Animal); "category": any label of the category',
  `name` string COMMENT 'Name of the label or of the category',
  `images` bigint COMMENT 'Images with a label of the group; each counts once',
  `share` double COMMENT 'images divided by all images of the scope, 0 to 1',
  `model_versions` array<string> COMMENT 'Versions of Rekognition’s label model that saw it, sorted'
)
PARTITIONED BY (`report_date` string COMMENT 'Day of the report, YYYY-MM-DD')
STORED AS PARQUET
LOCATION 's3://BUCKET/PREFIX/reports/group_frequency/'
TBLPROPERTIES (
  'projection.enabled' = 'true',
  'projection.report_date.type' = 'date',
  'projection.report_date.format' = 'yyyy-MM-dd',
  'projection.report_date.range' = '2026-01-01,NOW',
  'storage.location.template' = 's3://BUCKET/PREFIX/reports/group_frequency/report_date=${report_date}/',
  'schema_version' = '1'
);

-- label_changes: How a report's label frequencies differ from those of the 28 days before, for each label that either of them has. An earlier report counts if its scope had images and it has the threshold.
CREATE EXTERNAL TABLE IF NOT EXISTS `label_changes` (
  `scope` string COMMENT 'Which images: those of this data interval ("day"), or all up to and including it ("all")',
  `min_confidence` double COMMENT 'Threshold in percent; only labels at or above it count in this row',
  `label` string COMMENT 'Name of the label as Rekognition gave it',
  `status` string COMMENT '"new": no earlier report has it; "vanished": only earlier ones have it; "kept": both do; "first": there is no earlier report',
  `images` bigint COMMENT 'Images with the label now; 0 if it has vanished',
  `scope_images` bigint COMMENT 'All images of the scope now',
  `share` double COMMENT 'images divided by scope_images, 0 to 1',
  `last_report_date` date COMMENT 'Day of the last report that counts',
  `last_images` bigint COMMENT 'Images with the label then',
  `last_scope_images` bigint COMMENT 'All images of the scope then',
  `last_share` double COMMENT 'last_images divided by last_scope_images',
  `reports` bigint COMMENT 'Earlier reports that count, 28 at most',
  `reports_with_label` bigint COMMENT 'Of these, those that have the label',
  `median_share` double COMMENT 'Median share of these reports, those without the label having a share of 0',
  `deviation` double COMMENT 'How far share is from median_share, upwards or downwards, in units of what separates ordinary days: what chance alone does to so many images, or the scatter of the earlier days where that is larger. Beyond 4 either way is worth a look. …',
  `model_versions` array<string> COMMENT 'Versions of Rekognition’s label model that see it now, sorted',
  `last_model_versions` array<string> COMMENT 'Versions that saw it in the last report that counts, sorted',
  `now_called` string COMMENT 'Label of which this one’s name is an alias now; a new model has renamed it and the world is as it was'
)
PARTITIONED BY (`report_date` string COMMENT 'Day of the report, YYYY-MM-DD')
STORED AS PARQUET
LOCATION 's3://BUCKET/PREFIX/reports/label_changes/'
TBLPROPERTIES (
  'projection.enabled' = 'true',
  'projection.report_date.type' = 'date',
  'projection.report_date.format' = 'yyyy-MM-dd',
  'projection.report_date.range' = '2026-01-01,NOW',
  'storage.location.template' = 's3://BUCKET/PREFIX/reports/label_changes/report_date=${report_date}/',
  'schema_version' = '1'
);

-- image_labels: One row for each image of the day and each label of it, at whatever confidence.
CREATE EXTERNAL TABLE IF NOT EXISTS `image_labels` (
  `image` string COMMENT 'Key of the image in the pipeline’s bucket',
  `img` string COMMENT 'File name of the image',
  `label` string COMMENT 'Name of the label as Rekognition gave it',
  `confidence` double COMMENT 'Confidence of the label in percent; the highest, if the answer has it twice',
  `instances` bigint COMMENT 'Objects of the label that were located in the image',
  `mentions` bigint COMMENT 'How often the answer has the label: once, as a rule',
  `parents` array<string> COMMENT 'Labels above this one, sorted',
  `categories` array<string> COMMENT 'Categories of the label, sorted',
  `aliases` array<string> COMMENT 'Other names of the label, sorted',
  `boxes` array<struct<`left`:double,`top`:double,`width`:double,`height`:double,`confidence`:double>> COMMENT 'Where the objects are: left, top, width, height as shares of the image, 0 to 1, and confidence in percent',
  `model_version` string COMMENT 'Version of Rekognition’s label model',
  `photographer` string COMMENT 'From the file’s name, where it says so',
  `taken_at` timestamp COMMENT 'Time of the shutter, from the EXIF block',
  `day` date COMMENT 'Day of the run that took the image in (UTC)'
)
PARTITIONED BY (`report_date` string COMMENT 'Day of the report, YYYY-MM-DD')
STORED AS PARQUET
LOCATION 's3://BUCKET/PREFIX/reports/image_labels/'
TBLPROPERTIES (
  'projection.enabled' = 'true',
  'projection.report_date.type' = 'date',
  'projection.report_date.format' = 'yyyy-MM-dd',
  'projection.report_date.range' = '2026-01-01,NOW',
  'storage.location.template' = 's3://BUCKET/PREFIX/reports/image_labels/report_date=${report_date}/',
  'schema_version' = '1'
);

-- images: One row for each image of the day.
CREATE EXTERNAL TABLE IF NOT EXISTS `images` (
  `image` string COMMENT 'Key of the image in the pipeline’s bucket',
  `img` string COMMENT 'File name of the image',
  `bucket` string COMMENT 'Bucket of the image',
  `etag` string COMMENT 'ETag of the object, or the version of the file that was taken',
  `sha256` string COMMENT 'SHA-256 of the content, in hex',
  `bytes` bigint COMMENT 'Size of the file',
  `format` string COMMENT 'JPEG, PNG, HEIF, …, by the content',
  `width` bigint COMMENT 'Pixels',
  `height` bigint COMMENT 'Pixels',
  `rendition` string COMMENT 'Key of the JPEG that Rekognition saw in its place, if it did',
  `photographer` string COMMENT 'From the file’s name, where it says so',
  `photo_id` string COMMENT 'Unsplash’s id of the photo, from the file’s name',
  `source_url` string COMMENT 'Where the photo came from',
  `artist` string COMMENT 'From the EXIF block',
  `taken_at` timestamp COMMENT 'Time of the shutter, from the EXIF block',
  `longitude` double COMMENT 'Degrees east, from the EXIF block',
  `latitude` double COMMENT 'Degrees north, from the EXIF block',
  `camera_make` string COMMENT 'From the EXIF block',
  `camera_model` string COMMENT 'From the EXIF block',
  `labels` bigint COMMENT 'Rows that the image has in image_labels',
  `model_version` string COMMENT 'Version of Rekognition’s label model',
  `asked_min_confidence` double COMMENT 'What Rekognition was asked for, in percent',
  `asked_max_labels` bigint COMMENT 'What Rekognition was asked for',
  `analysed_at` timestamp COMMENT 'Time of Rekognition’s answer',
  `dag_run` string COMMENT 'The DAG run that brought the image',
  `paid_by` string COMMENT 'The DAG run that called Rekognition',
  `reused_from` string COMMENT 'Key of the image that was asked about, if another one',
  `day` date COMMENT 'Day of the run that took the image in (UTC)'
)
PARTITIONED BY (`report_date` string COMMENT 'Day of the report, YYYY-MM-DD')
STORED AS PARQUET
LOCATION 's3://BUCKET/PREFIX/reports/images/'
TBLPROPERTIES (
  'projection.enabled' = 'true',
  'projection.report_date.type' = 'date',
  'projection.report_date.format' = 'yyyy-MM-dd',
  'projection.report_date.range' = '2026-01-01,NOW',
  'storage.location.template' = 's3://BUCKET/PREFIX/reports/images/report_date=${report_date}/',
  'schema_version' = '1'
);

-- runs: The books of each DAG run of the day: what came in, and what became of it.
CREATE EXTERNAL TABLE IF NOT EXISTS `runs` (
  `run_id` string COMMENT 'The DAG run',
  `dag_id` string COMMENT 'Its DAG',
  `day` date COMMENT 'Day that the run stands for (UTC)',
  `state` string COMMENT '"balanced"; "failed"; "open"; or "recovered": a later run has stored its answers',
  `opened_at` timestamp COMMENT 'When it began',
  `closed_at` timestamp COMMENT 'When its books were closed',
  `landing` string COMMENT 'The landing place',
  `asked_min_confidence` double COMMENT 'What Rekognition was asked for, in percent',
  `asked_max_labels` bigint COMMENT 'What Rekognition was asked for',
  `seen` bigint COMMENT 'Files in the landing place',
  `known` bigint COMMENT 'Of these, those that earlier runs had dealt with',
  `unsettled` bigint COMMENT 'Of these, those that were still changing',
  `new` bigint COMMENT 'Of these, those that were new',
  `uploaded` bigint COMMENT 'Images put into S3',
  `unchanged` bigint COMMENT 'Images that S3 had already',
  `carried` bigint COMMENT 'Images left to the next run',
  `to_analyse` bigint COMMENT 'Images that needed an answer',
  `called` bigint COMMENT 'Of these, those that Rekognition was asked about',
  `reused` bigint COMMENT 'Of these, those whose content had been answered before',
  `quarantined` bigint COMMENT 'Images that could not be taken, in whatever step',
  `ingested` bigint COMMENT 'Documents stored',
  `spent_usd` double COMMENT 'What Rekognition took, in US dollars',
  `problems` array<string> COMMENT 'Why the books could not be closed, a sentence each'
)
PARTITIONED BY (`report_date` string COMMENT 'Day of the report, YYYY-MM-DD')
STORED AS PARQUET
LOCATION 's3://BUCKET/PREFIX/reports/runs/'
TBLPROPERTIES (
  'projection.enabled' = 'true',
  'projection.report_date.type' = 'date',
  'projection.report_date.format' = 'yyyy-MM-dd',
  'projection.report_date.range' = '2026-01-01,NOW',
  'storage.location.template' = 's3://BUCKET/PREFIX/reports/runs/report_date=${report_date}/',
  'schema_version' = '1'
);

-- quarantine: One row for each file of the day that could not be taken.
CREATE EXTERNAL TABLE IF NOT EXISTS `quarantine` (
  `run_id` string COMMENT 'The DAG run that refused it',
  `path` string COMMENT 'Its path below the landing place',
  `image` string COMMENT 'Its key in the pipeline’s bucket, if it has come so far',
  `step` string COMMENT 'Which step refused it',
  `code` string COMMENT 'Why, in a word',
  `reason` string COMMENT 'Why, in a sentence',
  `at` timestamp COMMENT 'When',
  `day` date COMMENT 'Day that the run stands for (UTC)'
)
PARTITIONED BY (`report_date` string COMMENT 'Day of the report, YYYY-MM-DD')
STORED AS PARQUET
LOCATION 's3://BUCKET/PREFIX/reports/quarantine/'
TBLPROPERTIES (
  'projection.enabled' = 'true',
  'projection.report_date.type' = 'date',
  'projection.report_date.format' = 'yyyy-MM-dd',
  'projection.report_date.range' = '2026-01-01,NOW',
  'storage.location.template' = 's3://BUCKET/PREFIX/reports/quarantine/report_date=${report_date}/',
  'schema_version' = '1'
);
