# The worker for CPUs that compute in 16 bits, on x86-64: with OpenVINO, which runs whole graphs in them.
#   docker build --file deploy/images/worker-openvino.Dockerfile --tag ebb/worker-openvino:0.1.0 .
# It takes the place of the image `worker`, with the same settings; `worker calibrate` says what it brings on a node.
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

# ONNX Runtime with its OpenVINO provider, and the parts of OpenVINO that it loads.
FROM ${PYTHON} AS runtime
WORKDIR /runtime
COPY deploy/images/openvino.txt deploy/images/unpack_libraries.py ./
RUN pip download --no-cache-dir --no-deps --require-hashes --only-binary :all: --python-version 3.12 \
        --requirement openvino.txt --dest wheels \
    && python unpack_libraries.py wheels /out

FROM ${DEBIAN}
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=runtime /out/ /opt/ebb/lib/
COPY --from=build /out/worker /usr/local/bin/
ENV ORT_DYLIB_PATH=/opt/ebb/lib/libonnxruntime.so \
    EBB_PROVIDER=openvino \
    ORT_DISABLE_TELEMETRY=1 \
    NVIDIA_VISIBLE_DEVICES=void
USER 65532:65532
EXPOSE 9090
ENTRYPOINT ["worker"]
CMD ["run"]
