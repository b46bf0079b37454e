# Stands for postgres: data in PGDATA, made at the first start with POSTGRES_USER, POSTGRES_PASSWORD and POSTGRES_DB.
FROM image-labels-test/trixie
RUN apt-get update && apt-get install --yes --no-install-recommends postgresql-17 && rm -rf /var/lib/apt/lists/*
ENV PATH=/usr/lib/postgresql/17/bin:$PATH PGDATA=/var/lib/postgresql/data
COPY postgres-entrypoint.sh /entrypoint.sh
RUN install --directory --owner postgres --group postgres --mode 1777 "$PGDATA" /var/run/postgresql
VOLUME /var/lib/postgresql/data
STOPSIGNAL SIGINT
ENTRYPOINT ["bash", "/entrypoint.sh"]
CMD ["postgres"]
