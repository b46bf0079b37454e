# Stands for chrislusf/seaweedfs: weed, a user seaweed, the data in /data.
FROM image-labels-test/bookworm
RUN apt-get update && apt-get install --yes --no-install-recommends wget && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 1000 --user-group seaweed && install --directory --owner seaweed --group seaweed /data
COPY weed /usr/bin/
VOLUME /data
WORKDIR /data
ENTRYPOINT ["weed"]
