# pghad on any Debian-based image with PostgreSQL 15 to 18 below /usr/lib/postgresql:
#
#     docker build -t pghad:0.1.0 .
#     docker build -t pghad:0.1.0 --build-arg BASE=postgres:16-bookworm .
#
# `make image-offline` makes the same image from Debian packages where no registry can be reached.
ARG BASE=postgres:17-bookworm

FROM ${BASE} AS build
USER root
RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        gcc libc6-dev make pkg-config libpq-dev libcurl4-openssl-dev libjson-c-dev \
        libmicrohttpd-dev libyaml-dev libsmartcols-dev \
        $(ls /usr/lib/postgresql | sed 's/^/postgresql-server-dev-/')
COPY . /src
RUN make -C /src need-gate && make -C /src -j"$(nproc)" && make -C /src install DESTDIR=/out
# The names of the libraries' packages differ between releases of Debian: those that hold what was
# linked. libnss-wrapper gives a name to a uid that has none, which initdb insists on.
RUN libraries=$(/src/tools/runtime-packages /out/usr/local/bin/pghad \
        /out/usr/local/lib/pghad/pghad-agent /out/usr/local/bin/hactl) && \
    echo libnss-wrapper $libraries > /packages

FROM ${BASE}
USER root
COPY --from=build /packages /tmp/packages
RUN apt-get update && \
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $(cat /tmp/packages) && \
    rm -rf /tmp/packages /var/lib/apt/lists/*
COPY --from=build /out/usr/local/ /usr/local/
# Root only until pghad has given the volume to the user postgres (PGHA_USER) and become it, as the
# official image does; the manifests run it as that user from the start.
#
# Data in a directory of the volume: beside it pghad keeps its state and the copies it sets aside.
ENV PGDATA=/var/lib/postgresql/data/pgdata
VOLUME /var/lib/postgresql/data
EXPOSE 5432 8008 8009
# SIGTERM hands over and stops fast; the base image's SIGINT would be understood as well.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/pghad"]
CMD []
