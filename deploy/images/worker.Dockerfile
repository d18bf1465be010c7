# The worker for CPUs: one program, ONNX Runtime's library, and nothing else. Build it from the root of the repository:
#   docker build --file deploy/images/worker.Dockerfile --tag ebb/worker:0.1.0 .
# Base images by digest, so that a build today and one in a year are the same; another base is another argument.
ARG RUST=rust:1.95.0-bookworm@sha256:6258907abe69656e41cd992e0b705cdcfabcbbe3db374f92ed2d47121282d4a1
ARG PYTHON=python:3.12.12-slim-bookworm@sha256:593bd06efe90efa80dc4eee3948be7c0fde4134606dd40d8dd8dbcade98e669c
ARG DEBIAN=debian:bookworm-20260824-slim@sha256:88200866dfff7ea7f5cbcb6ec7c8a701889efe6fe859fe64d6990e4b07ea4171

FROM ${RUST} AS build
WORKDIR /src
COPY . .
# The cache holds what was compiled before; nothing of it gets into the image.
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked --package worker --bin worker \
    && install -D target/release/worker /out/worker

# The library as fixtures/ pins it, by version and digest, out of its wheel.
FROM ${PYTHON} AS runtime
WORKDIR /runtime
COPY fixtures/runtime/carriers.txt fixtures/runtime/unpack.py ./
RUN sed -n '/^onnxruntime==/,/[^\\]$/p' carriers.txt >onnxruntime.txt \
    && pip download --no-cache-dir --no-deps --require-hashes --only-binary :all: \
        --requirement onnxruntime.txt --dest wheels \
    && python unpack.py wheels 'onnxruntime-*' 'onnxruntime/capi/libonnxruntime.*' /out/libonnxruntime.so

FROM ${DEBIAN}
# Authorities of certificates, for servers that speak TLS.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=runtime /out/ /opt/ebb/lib/
COPY --from=build /out/worker /usr/local/bin/
ENV ORT_DYLIB_PATH=/opt/ebb/lib/libonnxruntime.so \
    ORT_DISABLE_TELEMETRY=1 \
    NVIDIA_VISIBLE_DEVICES=void
USER 65532:65532
EXPOSE 9090
ENTRYPOINT ["worker"]
CMD ["run"]
