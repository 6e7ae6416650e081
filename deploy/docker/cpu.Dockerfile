# syntax=docker/dockerfile:1
# voxtral-edge serve on CPUs, for amd64 and arm64: docker buildx build --platform linux/amd64,linux/arm64
# -f deploy/docker/cpu.Dockerfile .
#
# Two stages: a compiler for the wheel, and a run-time image without one.

FROM python:3.12-slim-bookworm AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends g++ \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
# One binary holds the kernels of every instruction set and picks at start: no -march=native here.
RUN pip wheel --no-cache-dir --wheel-dir /wheels ".[server,diarize]"

FROM python:3.12-slim-bookworm
# libsndfile comes inside the soundfile wheel; nothing else is needed from Debian.
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-index --find-links /wheels "voxtral-edge[server,diarize]" \
 && useradd --system --uid 10001 --no-create-home voxtral
USER 10001
WORKDIR /tmp
# A package folder mounted at /model is used by `--model /model`; without options the demo model is served.
VOLUME /model
EXPOSE 8000 10300
# Inside the container the address is not loopback, so a token is required:
#   docker run -e VOXTRAL_EDGE_TOKEN=… -p 8000:8000 -v PACKAGE:/model:ro voxtral-edge --model /model
HEALTHCHECK --interval=15s --timeout=3s --start-period=10m --retries=4 \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/health/live', timeout=2)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["voxtral-edge", "serve", "--host", "0.0.0.0"]
