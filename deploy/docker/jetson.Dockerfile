# syntax=docker/dockerfile:1
# voxtral-edge serve on a Jetson with JetPack 6 (L4T r36, Orin family), with the native CPU engine.
#
# Not built or run by the maintainers: there was no Jetson at hand. JetPack 7 (r38) dropped Orin, so the base image is
# pinned to r36. Its Python is 3.10, for which onnxruntime's own wheels end at 1.23; `--engine onnxruntime` needs 1.25
# (docs/onnx.md). Whoever has one, perhaps with CUDA, gives it with --build-arg ONNXRUNTIME_WHEEL=https://…

FROM nvcr.io/nvidia/l4t-cuda:12.6.11-runtime AS base
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3 python3-pip python3-venv \
 && rm -rf /var/lib/apt/lists/*

FROM base AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends g++ python3-dev \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
RUN python3 -m venv /opt/voxtral-edge \
 && /opt/voxtral-edge/bin/pip install --no-cache-dir ".[server]"
ARG ONNXRUNTIME_WHEEL=
RUN if [ -n "$ONNXRUNTIME_WHEEL" ]; then /opt/voxtral-edge/bin/pip install --no-cache-dir "$ONNXRUNTIME_WHEEL"; fi

FROM base
COPY --from=build /opt/voxtral-edge /opt/voxtral-edge
RUN useradd --system --uid 10001 --no-create-home voxtral
USER 10001
WORKDIR /tmp
VOLUME /model
EXPOSE 8000 10300
STOPSIGNAL SIGTERM
ENTRYPOINT ["/opt/voxtral-edge/bin/voxtral-edge", "serve", "--host", "0.0.0.0"]
