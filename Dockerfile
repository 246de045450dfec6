# One image for every process: `safelight api`, `safelight worker`, `safelight db migrate`, `safelight sandbox`.
FROM python:3.13-slim-bookworm AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/safelight
COPY deploy/requirements.lock /build/deploy/requirements.lock
RUN /opt/safelight/bin/pip install --require-hashes -r /build/deploy/requirements.lock
COPY pyproject.toml README.md LICENSE /build/
COPY src /build/src
COPY examples/cases /build/examples/cases
RUN /opt/safelight/bin/pip install --no-deps --no-build-isolation /build

FROM python:3.13-slim-bookworm

ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Safelight" \
      org.opencontainers.image.description="Durable image generation" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

RUN groupadd --gid 10001 safelight \
 && useradd --uid 10001 --gid safelight --no-create-home --home-dir /var/lib/safelight --shell /usr/sbin/nologin safelight \
 && install -d -o safelight -g safelight -m 0700 /var/lib/safelight
COPY --from=build /opt/safelight /opt/safelight

ENV PATH=/opt/safelight/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    SAFELIGHT_HOME=/var/lib/safelight \
    SAFELIGHT_BIND=0.0.0.0:8420 \
    SAFELIGHT_LOG_JSON=1

# The root filesystem may be read-only: what is written goes to the data folder and to /tmp.
USER 10001:10001
WORKDIR /var/lib/safelight
VOLUME /var/lib/safelight
EXPOSE 8420 9420
STOPSIGNAL SIGTERM

# Of the API; a worker has another one, see compose.yaml.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
  CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8420/healthz', timeout=4)"]

ENTRYPOINT ["safelight"]
CMD ["api"]
