# Stands for redis: the command is the server's, the data in /data.
FROM image-labels-test/trixie
RUN apt-get update && apt-get install --yes --no-install-recommends redis-server && rm -rf /var/lib/apt/lists/* \
    && install --directory --owner redis --group redis /data
VOLUME /data
WORKDIR /data
CMD ["redis-server"]
