# Stands for mongo: arguments are mongod's, the data in /data/db.
FROM image-labels-test/bookworm
RUN apt-get update && apt-get install --yes --no-install-recommends libcurl4 libssl3 && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 999 --user-group --home-dir /data/db mongodb \
    && install --directory --owner mongodb --group mongodb /data/db
COPY mongod /usr/bin/
VOLUME /data/db
CMD ["mongod", "--bind_ip_all"]
